"""What is put into asyncio, threading and warnings while somebody watches.

It is put in for the first who asks for it and taken out with the last. That costs more
than a look at all there is, as the interpreter forgets what it has learnt about a class
that changes: who makes one watch after the other keeps it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final


class Part(Protocol):
    """Something that can be put in and taken out."""

    def start(self) -> None:
        """Put it in."""

    def stop(self) -> None:
        """Take it out."""


@final
class Installed:
    """The parts, in the order in which they are put in."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._kept = 0

    def keep(self) -> None:
        """Have it put in, until `release` has been called as often."""
        if not self._kept:
            for part in self._parts:
                part.start()
        self._kept += 1

    def release(self) -> None:
        """Somebody who kept it does not need it any more."""
        self._kept -= 1
        if not self._kept:
            for part in reversed(self._parts):
                part.stop()
