"""Where an operation can be ended, and how: the words of a schedule.

A place is known by its line and by how often that was waited in before, not by a
number: with real connections there may be one wait more or less before it next time.
"""

from __future__ import annotations

import re
from enum import Enum
from types import FrameType
from typing import NamedTuple, final

from ... import _awaits
from ..leaks import _chains

OWN = "tether.testing.sweeping."


class Moment(Enum):
    """When the end comes, seen from the wait at the place."""

    EARLY = "early"  # while it waits
    LATE = "late"  # what it waits for has come, and it has not gone on yet


class Means(Enum):
    """What ends the operation."""

    CANCEL = "cancel"  # task.cancel(), as asyncio.timeout and a TaskGroup do
    CONTEXT = "context"  # its context is canceled
    DEADLINE = "deadline"  # the deadline of its context passes


@final
class Place(NamedTuple):
    """A line that waits, for the nth time in one run."""

    site: str
    nth: int

    def __str__(self) -> str:
        return f"{self.site} #{self.nth}"


@final
class Cut(NamedTuple):
    """One way to end an operation: the place, the moment, the means.

    `again` is where it is canceled a second time, while it waits in its cleanup.
    """

    place: Place
    moment: Moment
    means: Means
    again: Place | None = None

    def __str__(self) -> str:
        again = "" if self.again is None else f", again {self.again}"
        return f"{self.place} {self.moment.value} {self.means.value}{again}"


def parse(text: str) -> Cut:
    """The cut that `str(cut)` was made of."""
    found = re.fullmatch(
        r"\s*(?P<site>.+?) #(?P<nth>\d+) (?P<moment>\w+) (?P<means>\w+)"
        r"(, again (?P<again>.+) #(?P<second>\d+))?\s*",
        text,
    )
    if (
        found is None
        or found["moment"] not in {one.value for one in Moment}
        or found["means"] not in {one.value for one in Means}
    ):
        raise ValueError(
            f"{text!r} is no place of a sweep; one is written as the report does: "
            "'shop.py:42 in checkout #1 early cancel'"
        )
    place = Place(found["site"], int(found["nth"]))
    again = None
    if found["again"] is not None:
        again = Place(found["again"], int(found["second"]))
    return Cut(place, Moment(found["moment"]), Means(found["means"]), again)


def site(coro: object) -> str:
    """The innermost line of a suspended coroutine that is not in an event loop."""
    inner: FrameType | None = None
    own: FrameType | None = None
    for frame in _awaits.frames(coro):
        inner = frame
        if not _is_plumbing(frame):
            own = frame
    return words(own or inner)


def words(frame: FrameType | None) -> str:
    """A line and its function."""
    if frame is None:
        return "an unknown place"
    return _chains.line(frame)


def callers(frame: FrameType | None) -> tuple[str, ...]:
    """The lines of the operation that have led here, the outermost first."""
    chain: list[str] = []
    while frame is not None and _module(frame).startswith(OWN):
        frame = frame.f_back  # what counts it
    while frame is not None and not _module(frame).startswith(OWN):
        if not is_ours(frame):
            chain.append(words(frame))
        frame = frame.f_back
    return tuple(reversed(chain))


def is_ours(frame: FrameType) -> bool:
    """Whether it is a line of tether, and not of what runs the operation."""
    return is_tethers(frame) and not _module(frame).startswith(OWN)


def is_tethers(frame: FrameType) -> bool:
    """Whether it is a line of tether, or of what runs the operation."""
    return _module(frame).startswith("tether.")


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


def _is_plumbing(frame: FrameType) -> bool:
    name = _module(frame)
    return name.partition(".")[0] in {"asyncio", "uvloop", "tether", "threading"}
