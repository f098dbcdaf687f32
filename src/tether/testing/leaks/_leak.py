"""Leak: something that was left behind, in words for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Leak:
    """Something that is still there, or was lost, when all should be over."""

    kind: str
    """What sort of thing: "task", "thread", "socket" ..."""
    what: str
    """Which one, in a line."""
    details: tuple[str, ...] = ()
    """Where it waits, where it was made, whose it is; a line each."""
    cure: str = ""
    """What is usually missing."""
    functions: frozenset[str] = frozenset()
    """The functions it is in, for rules that ignore it."""

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.what}", *(f"  {line}" for line in self.details)]
        if self.cure:
            lines.append(f"  -> {self.cure}")
        return "\n".join(lines)


@final
class LeakError(AssertionError):
    """Something was left behind. `leaks` lists what; the text tells of each."""

    def __init__(self, leaks: Iterable[Leak]) -> None:
        self.leaks = tuple(leaks)
        super().__init__(self.leaks)

    def __str__(self) -> str:
        count = len(self.leaks)
        head = f"{count} thing{'s' if count > 1 else ''} left behind"
        return "\n".join([f"{head}:", *map(str, self.leaks)])
