"""What one run has shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import final

from ..leaks import Leak
from ._places import Cut, Place

GOES_ON = "a task of it goes on"
ENDLESS = "it does not end"
RAISES = "it raises"
AGAIN = "and again, while its cleanup"  # in a chain: of the second end from here on


@final
@dataclass
class Trace:
    """One run: where the operation waited, whether it was ended, what was wrong."""

    cut: Cut | None
    places: list[Place] = field(default_factory=list)
    yields: set[Place] = field(default_factory=set)  # without anything to wait for
    reached: bool = False  # the place of the cut
    struck: bool = False  # the end was delivered
    cleanup: list[Place] = field(default_factory=list)  # where it waited after that
    again: bool = False  # and the second one, in the cleanup
    ignored: bool = False  # the operation was interrupted by it, and finished even so
    chain: tuple[str, ...] = ()
    outcome: str = ""
    unending: bool = False
    abandoned: bool = False  # its thread goes on: nothing has ended it
    problems: list[str] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        """Whether it was ended as the cut says."""
        return self.struck and (
            self.again or self.cut is None or self.cut.again is None
        )

    def fails(self) -> list[str]:
        """Why nothing can be learned from the operation if no end was delivered."""
        return [one for one in self.problems if one.startswith((ENDLESS, RAISES))]

    def left(self, leaks: list[Leak]) -> None:
        """Take in what was left behind; not what a thread that goes on still holds."""
        if self.abandoned:
            return
        told = any(one.startswith(GOES_ON) for one in self.problems)
        self.problems += [
            f"left behind: {leak}"
            for leak in leaks
            if not (told and leak.kind == "task")
        ]


def kind_of(problem: str) -> str:
    """The same for the same problem in another run: without numbers and details."""
    first = problem.partition("\n")[0]
    # An address may be cut off on its left; a temporary name is of `tempfile`.
    return re.sub(r"\w*x[0-9a-f]{6,}|\btmp[a-z0-9_]{8}\b|\d+", "N", first)
