"""What functions in other processes have done: lines in a file, and who waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0


def note(log: str, line: str) -> None:
    """A line in a file, in one write."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def notes(log: Path) -> list[str]:
    """The lines so far."""
    return log.read_text("utf-8").splitlines() if log.exists() else []


def count(log: Path, what: str) -> int:
    """How many lines begin so."""
    return sum(line.startswith(what) for line in notes(log))


def until(true: Callable[[], object]) -> None:
    """Wait until this is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.002)
