"""What one run has shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import final

from ..leaks import Leak
from ._places import Cut, Place

AGAIN = "and again, while its cleanup"  # in a chain: of the second end from here on
TEMPORARY = r"\w*x[0-9a-f]{6,}|\btmp[a-z0-9_]{8}\b"


class Kind(Enum):
    """What sort of thing is wrong."""

    ENDLESS = "it does not end"
    RAISES = "it raises what is not its end"
    SWALLOWED = "it finishes as if no end had come"
    GOES_ON = "a task of it goes on"
    LEFT = "something else is left behind"
    AGAIN = "it does not work again on the same state"
    CHECK = "the check of the user says so"
    LEAVING = "what setup gave cannot be left"


# With these, nothing can be learned from the operation if no end was delivered.
FAILED = {Kind.ENDLESS, Kind.RAISES}
# What is left behind without an end, too, is not counted.
LEAKS = {Kind.GOES_ON, Kind.LEFT}


@final
@dataclass(frozen=True)
class Problem:
    """Something that is wrong after one run."""

    kind: Kind
    text: str

    @property
    def same(self) -> tuple[Kind, str]:
        """The same for the same problem in another run, whatever its details.

        Those are addresses, which may be cut off on their left, names of `tempfile`
        and numbers; but of what a check says each word counts.
        """
        first = self.text.partition("\n")[0]
        details = TEMPORARY if self.kind is Kind.CHECK else rf"{TEMPORARY}|\d+"
        return self.kind, re.sub(details, "N", first)


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
    error: BaseException | None = None  # what it raised, if that is not its end
    refused: Exception | None = None  # the sweep was called with what it cannot sweep
    unending: bool = False
    abandoned: bool = False  # it goes on: nothing has ended it
    problems: list[Problem] = field(default_factory=list)

    @property
    def delivered(self) -> bool:
        """Whether it was ended as the cut says."""
        return self.struck and (
            self.again or self.cut is None or self.cut.again is None
        )

    def add(self, kind: Kind, text: str) -> None:
        """Note what is wrong."""
        self.problems.append(Problem(kind, text))

    def of(self, kinds: set[Kind]) -> Iterator[Problem]:
        """The problems of these kinds."""
        return (one for one in self.problems if one.kind in kinds)

    def left(self, leaks: list[Leak]) -> None:
        """Take in what was left behind; not what a thread that goes on still holds."""
        if self.abandoned:
            return
        told = any(self.of({Kind.GOES_ON}))
        for leak in leaks:
            if not (told and leak.kind == "task"):
                self.add(Kind.LEFT, f"left behind: {leak}")
