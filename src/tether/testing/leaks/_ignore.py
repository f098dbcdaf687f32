"""Rules for what may stay."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import final

from ._leak import Leak


@final
class Ignore:
    """Patterns of functions and names; each that fits nothing is remembered as unused.

    A pattern fits a leak if it fits the name of a function that it is in or was made in
    (tasks and threads), its kind ("thread"), or its line ("thread*: serve*"), with the
    wildcards of a shell.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        if isinstance(patterns, str):
            patterns = [patterns]
        if not isinstance(patterns, Iterable):
            raise TypeError(f"ignore takes patterns as text, not {patterns!r}")
        self._patterns = list(patterns)
        for pattern in self._patterns:
            if not isinstance(pattern, str):
                raise TypeError(f"ignore takes patterns as text, not {pattern!r}")
        self.unused = set(self._patterns)

    def without(self, leaks: Iterable[Leak]) -> list[Leak]:
        """Those that no pattern fits."""
        return [leak for leak in leaks if not self._fits(leak)]

    def _fits(self, leak: Leak) -> bool:
        names = [*leak.functions, leak.kind, f"{leak.kind}: {leak.what}"]
        fitting = {
            pattern
            for pattern in self._patterns
            if any(fnmatchcase(name, pattern) for name in names)
        }
        self.unused -= fitting
        return bool(fitting)
