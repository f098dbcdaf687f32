"""The clock and the door through which tests replace it.

Everything in tether reads the time as `_clock.now()`, parks a thread with a `Parker`
and arms a timer through `Timers`; `virtual` is the test clock that has taken over all
three, or None. Always ask by attribute (`_clock.now()`), never `from ... import now`:
the replacement must be seen.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections.abc import Callable
from threading import TIMEOUT_MAX
from typing import Protocol

INF = float("inf")

now: Callable[[], float] = time.monotonic


class Virtual(Protocol):
    """What a test clock has to offer."""

    def park(self, parker: Parker, until: float) -> None:
        """Block this thread until `parker.woken`, or until the clock shows `until`."""

    def call_at(self, when: float, fire: Callable[[], object]) -> None:
        """Call `fire` when the clock shows `when`."""


virtual: Virtual | None = None


class Parker:
    """One wait of one thread: `park` blocks until `unpark`, or until an instant.

    `unpark` may come before `park`, twice, from any thread and from a signal handler
    in the middle of `park`.
    """

    __slots__ = ("_lock", "unparked", "woken")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self.unparked = False
        self.woken = False  # or let go for a look at the clock

    def park(self, until: float = INF) -> bool:
        """Whether it was unparked; False: the clock shows `until`."""
        while not self.unparked:
            left = until - now()
            if left <= 0.0:
                break
            self.woken = False
            if self._was_unparked():
                break
            test_clock = virtual  # read once: a test may leave its clock meanwhile
            if test_clock is not None:
                test_clock.park(self, until)
            else:
                self.block(left)
        return self.unparked

    def _was_unparked(self) -> bool:
        return self.unparked  # by another thread, between two lines

    def block(self, seconds: float = INF) -> None:
        """Block for real, at most so long."""
        if seconds >= TIMEOUT_MAX:
            self._lock.acquire()
        elif seconds > 0.0:
            self._lock.acquire(True, seconds)

    def unpark(self) -> None:
        self.unparked = True
        self.release()

    def release(self) -> None:
        """Let `park` look at the clock again."""
        self.woken = True
        try:
            self._lock.release()
        except RuntimeError:
            # Not locked: released before and not yet noticed, which is enough.
            return

    _fire = unpark  # a parker may hang on a context as it is
