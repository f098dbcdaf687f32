"""Reads a folder of scenarios."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.grammar import WAITING, BadVectorsError, Step, check_step, needs


@dataclass(frozen=True)
class Scenario:
    """One line of a file: a script, and what Go answered to each of its steps."""

    file: str
    line: int
    id: str
    tags: tuple[str, ...]
    steps: list[Step]
    expected: list[object]
    needs: frozenset[str]

    @property
    def waits(self) -> bool:
        """Whether something in it waits: for a context, a place, a group."""
        return any(step["op"] in WAITING for step in self.steps)

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.file}:{self.line} ({self.id})"


def read_folder(folder: Path) -> list[Scenario]:
    """Every scenario of the folder, file by file, or `BadVectorsError`."""
    if not folder.is_dir():
        raise BadVectorsError(f"{folder}: no such folder")
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise BadVectorsError(f"{folder}: no *.jsonl files in it")
    scenarios = [scenario for file in files for scenario in _read_file(file)]
    if not scenarios:
        raise BadVectorsError(f"{folder}: no scenario in its files")
    return scenarios


def _read_file(file: Path) -> list[Scenario]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise BadVectorsError(f"{file.name}: cannot be read: {exc}") from exc
    scenarios = [
        _read_line(file.name, number, line)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    seen: dict[str, Scenario] = {}
    for scenario in scenarios:
        if scenario.id in seen:
            first = seen[scenario.id].line
            raise BadVectorsError(f"{scenario.place}: the id of line {first} again")
        seen[scenario.id] = scenario
    return scenarios


def _read_line(file: str, number: int, line: str) -> Scenario:
    where = f"{file}:{number}"
    try:
        vector = json.loads(line)
    except ValueError as exc:
        raise BadVectorsError(f"{where}: bad JSON: {exc}") from exc
    if not isinstance(vector, dict) or not isinstance(vector.get("id"), str):
        raise BadVectorsError(f"{where}: not a scenario with an id")
    where = f"{where} ({vector['id']})"
    for field in ("tags", "steps", "expected"):
        if not isinstance(vector.get(field), list):
            raise BadVectorsError(f"{where}: no list {field!r}")
    steps, expected = vector["steps"], vector["expected"]
    if len(steps) != len(expected):
        raise BadVectorsError(
            f"{where}: {len(steps)} steps, but {len(expected)} expected results"
        )
    for position, step in enumerate(steps, 1):
        check_step(step, f"{where}: step {position}")
    return Scenario(
        file=file,
        line=number,
        id=vector["id"],
        tags=tuple(map(str, vector["tags"])),
        steps=steps,
        expected=expected,
        needs=frozenset(needs(steps)),
    )
