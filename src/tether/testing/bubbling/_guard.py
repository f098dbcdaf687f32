"""The thread that moves the clock of a bubble while the test waits in something real.

In a lock, a `SimpleQueue`, a socket: a thread of the bubble that will answer may sleep
on the clock, and nobody else would move it. Whether the test waits is told as for other
threads (see `_standing`). Nobody can know what it waits for, so that takes `grace`.

It also says so if the test never comes to wait.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from threading import Thread
from typing import final

from .._pace import Move, Pace, needed_for
from .._standing import Standing
from ._clock import BubbleClock

LOOK = 0.005
SLOW = 1.0  # a task that blocks its loop reads a file, more likely than not


@final
class Guard:
    """Serves one clock until it is ended."""

    def __init__(self, clock: BubbleClock) -> None:
        self._clock = clock
        self._pace = Pace(clock.grace, clock.patience)
        self._waits = False  # the test does, in something real
        self._has_told = False
        self._over = allocate_lock()
        self._over.acquire()
        self._thread = Thread(target=self._serve, name="tether-bubble", daemon=True)
        clock.leave_outside(self._thread)
        self._thread.start()

    def end(self) -> None:
        self._over.release()
        self._thread.join()

    def _serve(self) -> None:
        clock = self._clock
        while not self._over.acquire(True, LOOK):
            if clock.resting() or not clock.wheel.acquire(blocking=False):
                self._rested()
                continue
            try:
                self._look()
            finally:
                clock.wheel.release()

    def _rested(self) -> None:
        self._waits = False
        self._pace.rested()

    def _look(self) -> None:
        clock = self._clock
        standing = clock._standing()
        if clock.owner in clock._parked or clock.owner not in standing:
            self._rested()  # it moves the clock itself, or has ended
            return
        if not self._waits:
            self._waits = True
            self._pace.begin()
        when = clock._next()

        def needed() -> float:
            grace = clock.grace if not clock.running else max(clock.grace, SLOW)
            return needed_for([Standing.FOREIGN], grace, timer=when is not None)

        if self._pace.look(standing.values(), needed) is not Move.JUMP:
            if standing[clock.owner] is Standing.RUNNING and self._pace.is_over():
                self._tell(
                    f"has gone on for {clock.patience:g} real seconds without waiting, "
                    "so that the clock stands"
                )
        elif when is not None:
            clock._step(when)
        else:
            self._tell(
                "waits in something real for long, all others wait, too, and no timer "
                "is set"
            )

    def _tell(self, what: str) -> None:
        """Say so once: an exception cannot reach the test there."""
        if not self._has_told:
            self._has_told = True
            at, lines = self._clock.now(), "\n  ".join(self._clock.who())
            sys.stderr.write(f"tether: at {at:.6g} s the test {what}:\n  {lines}\n")
