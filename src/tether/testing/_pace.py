"""When a clock may move: nothing has gone on for long enough, in real time.

And what is done with those who never wait. A thread that computes until its deadline
would hold the clock for ever, so it creeps on after a while; once the patience is over
it is an error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from threading import Thread
from time import monotonic  # the real one: a bubble replaces time.monotonic
from types import FrameType
from typing import final

from .. import _where
from .._clock import INF
from ._standing import Standing

PATIENCE = 10.0  # real seconds without any timer until silence is a deadlock
TOIL = 0.5  # real seconds in which threads compute and nothing else happens
CREEP = 0.001


class Spinning(RuntimeError):
    """A task or a thread goes on without ever waiting, and holds the clock.

    The text names the tasks and threads, and where they are.
    """


class Deadlock(RuntimeError):
    """Nothing can happen any more: every task and thread waits, and no timer is set.

    The text names the tasks and threads, and what they wait in.
    """


class Move(Enum):
    """What the clock may do."""

    STAND = "something goes on, or may be on its way"
    CREEP = "threads compute, and have done so for long"
    JUMP = "nothing can happen before the next timer"


@final
class Pace:
    """What has been seen, while somebody waits, of those who go on."""

    def __init__(self, grace: float, patience: float = INF) -> None:
        self.grace = grace
        self.patience = patience
        self._quiet = 0.0  # since when nobody has gone on
        self._busy: float | None = None  # since when somebody has
        self._toil: float | None = None  # the same, without what the clock has crept

    def begin(self) -> None:
        """A wait begins."""
        self._quiet = monotonic()

    def look(self, standing: Iterable[Standing], needed: Callable[[], float]) -> Move:
        """What the clock may do after these have been seen.

        `needed` says how many real seconds of silence it takes; INF while something
        is certain to come.
        """
        now = monotonic()
        if Standing.RUNNING in standing:
            self._quiet = now
            if self._toil is None:
                self._toil = now
            if now - self._toil > TOIL:
                self._toil += CREEP
                return Move.CREEP
            return Move.STAND
        self._toil = self._busy = None
        seconds = needed()
        if seconds == INF:
            self._quiet = now
        return Move.JUMP if now - self._quiet >= seconds else Move.STAND

    def rested(self) -> None:
        """Whoever went on has waited."""
        self._busy = None

    def is_over(self) -> bool:
        """Whether the patience with those who go on is over; asked while they do."""
        now = monotonic()
        if self._busy is None:
            self._busy = now
        return now - self._busy > self.patience


def needed_for(standing: Iterable[Standing], grace: float, *, timer: bool) -> float:
    """The real seconds of silence that threads ask for; more where it is the end."""
    if {Standing.OUTSIDE, Standing.FOREIGN}.isdisjoint(standing):
        return 0.0
    return grace if timer else max(grace, PATIENCE)


def deadlock(at: float, who: list[str]) -> Deadlock:
    """The error, with those who wait."""
    lines = "\n  ".join(who) or "(nobody but the test)"
    return Deadlock(f"at {at:.6g} s everything waits and no timer is set:\n  {lines}")


def spinning(at: float, patience: float, who: list[str]) -> Spinning:
    """The error, with those who run."""
    lines = "\n  ".join(who)
    return Spinning(
        f"at {at:.6g} s something has gone on for {patience:g} real seconds without "
        f"waiting; make it wait, or give the bubble more patience:\n  {lines}"
    )


def who(
    loops: Iterable[asyncio.AbstractEventLoop], threads: Iterable[Thread]
) -> list[str]:
    """The tasks of these loops and these threads, and where each of them is."""
    tasks = [task for loop in loops for task in asyncio.all_tasks(loop)]
    return [*sorted(map(_where.task, tasks)), *sorted(map(_thread, threads))]


def _thread(one: Thread) -> str:
    """Its name, the line of the program it is at, and the call that it is in there."""
    frame = sys._current_frames().get(one.ident or 0)
    inner: FrameType | None = None
    library: FrameType | None = None  # the innermost that is not ours
    while frame is not None:
        frozen = frame.f_code.co_filename.startswith("<frozen")  # how it was started
        if not frozen and not _where.is_of_a_library(frame):
            call = f" ({inner.f_code.co_qualname})" if inner is not None else ""
            return f"thread {one.name}{_where.place(frame)}{call}"
        inner = frame
        if library is None and not _is_ours(frame):
            library = frame
        frame = frame.f_back
    return f"thread {one.name}{_where.place(library or inner)}"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("tether.")
