"""tether vet beside ruff and flake8-async, CPU per line."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench._measure import Bar, Case, Effort, Run, Side

STDLIB = Path(sysconfig.get_path("stdlib"))
ROOT = Path(__file__).parents[1]
FASTEST = 1e9 / 40_000  # ns: 40,000 lines a second, on one core and with nothing kept
VET, RUFF = "tether vet", "ruff: ASYNC, RUF006, S113"
PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing")


def command(*args: str) -> Run:
    """Run a command n times; ns of CPU, its start included."""

    def run(n: int) -> int:
        import resource  # not on Windows

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(n):
            done = subprocess.run(
                [sys.executable, *args],
                env=os.environ | {"RAYON_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            # 1 is for findings, and for a tool that is not there.
            if done.returncode > 1 or "No module named" in done.stderr:
                raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return int(spent * 1e9)

    return run


def files(folders: Sequence[Path]) -> list[Path]:
    """The Python files in some folders, tests left out."""
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [path for path in found if "test" not in path.parts]


def lines(paths: Sequence[Path]) -> int:
    """How many lines some files have."""
    return sum(path.read_bytes().count(b"\n") for path in paths)


def cases(effort: Effort) -> list[Case]:
    """One operation is a line."""
    small = files([STDLIB / "concurrent"])
    if not effort.large:  # a command's start is most of it
        return [_case(small[-1:], [_vet, _ruff, _async])]
    large = files([STDLIB / name for name in PACKAGES])
    own = files([ROOT / "src", ROOT / "demo", ROOT / "bench"])
    return [
        _case(small, [_vet, _ruff, _async]),
        _case(large, [_bounded, _ruff]),
        _case(own, [_bounded, _ruff], "that use tether"),
    ]


def _case(
    paths: Sequence[Path],
    sides: Sequence[Callable[[Sequence[Path]], Side]],
    of: str = "of the standard library",
) -> Case:
    return Case(f"{lines(paths)} lines {of}", VET, [make(paths) for make in sides], n=1)


def _bounded(paths: Sequence[Path]) -> Side:
    return replace(_vet(paths), bars=(Bar(FASTEST),))


def _vet(paths: Sequence[Path]) -> Side:
    words = ("-m", "tether", "vet", "--jobs", "1", "--statistics")
    return _side(VET, words, paths)


def _ruff(paths: Sequence[Path]) -> Side:
    words = ("-m", "ruff", "check", "--isolated", "--no-cache", "--quiet")
    return _side(RUFF, (*words, "--select", "ASYNC,RUF006,S113"), paths)


def _async(paths: Sequence[Path]) -> Side:
    return _side("flake8-async", ("-m", "flake8_async", "--asyncio"), paths)


def _side(name: str, words: Sequence[str], paths: Sequence[Path]) -> Side:
    return Side(name, command(*words, *map(str, paths)), per=max(1, lines(paths)))
