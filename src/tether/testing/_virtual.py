"""VirtualClock: deadlines, sleeps and waits of tether on a clock that the test moves.

While it is entered it stands behind the door in `_clock`: it gives the time, it parks
the threads that wait in tether, and it holds every timer that tether arms. So it knows
when a thread waits for the clock and when it still works, which is what "everything has
run" means.
"""

from __future__ import annotations

import asyncio
import threading
from _thread import get_ident
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import sleep  # the real one: a bubble replaces time.sleep
from types import TracebackType
from typing import Self

from .. import _clock, _loops, _pool, _threads, _timers
from .._clock import Parker
from ._standing import Looks, Standing, is_there

GLANCE = 0.0002
# Turns of the event loop without anything new, after which its tasks count as waiting.
TURNS = 12


class VirtualClock:
    """A clock that starts at 0 and moves only when it is told to.

        >>> from tether import background
        >>> from tether.testing import VirtualClock
        >>> with VirtualClock() as clock:
        ...     ctx = background().with_timeout(3600.0)
        ...     clock.advance(3599.0)
        ...     before = ctx.done()
        ...     clock.advance(1.0)
        ...     before, ctx.done(), clock.now()
        (False, True, 3600.0)

    It holds for tether's own waits, in every thread; `time.sleep()` and
    `asyncio.sleep()` go on as they do. Contexts do not outlive it sensibly: make them
    inside. One at a time.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._lock = threading.RLock()
        self._parked: dict[int, Parker] = {}
        self._known: set[threading.Thread] = set()
        self._started: set[threading.Thread] = set()  # since then, and not yet ended
        self._looks = Looks()
        self._activity = 0
        self._looker = 0  # the thread that decides when it moves
        self._was_read = False  # by another one
        self._entered = False

    def now(self) -> float:
        """The time on it, in seconds."""
        if get_ident() != self._looker:
            self._was_read = True
        return self._now

    def __enter__(self) -> Self:
        if _clock.virtual is not None or self._entered:
            raise RuntimeError("a VirtualClock is entered once, one at a time")
        self._entered = True
        self._known = set(threading.enumerate())
        self._saved = (_clock.now, _timers.threads, dict(_loops.states))
        _loops.states.clear()
        _timers.threads = _timers.ThreadTimers()
        _clock.now = self.now
        _clock.virtual = self
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        _clock.virtual = None
        _clock.now, _timers.threads, states = self._saved
        _loops.restore(states)
        _timers.threads.wake()
        # Whoever still waits is woken, and waits on by the real clock.
        with self._lock:
            parked = list(self._parked.values())
        for parker in parked:
            parker.release()

    # -- moving ----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Move it forward, from one instant at which something is due to the next.

        At each, what is due is done and whatever it sets free runs until it waits
        again: timers, `after_func`s, threads that wait in tether. A task of an event
        loop runs when its loop does: in a task use `await clock.advance_async(...)`.
        """
        end = self._end(seconds)
        self.settle()
        while self._step(end):
            self.settle()

    async def advance_async(self, seconds: float) -> None:
        """Like `advance`, and the tasks of this event loop run too."""
        end = self._end(seconds)
        await self.settle_async()
        while self._step(end):
            await self.settle_async()

    def _end(self, seconds: float) -> float:
        if not 0.0 <= seconds < _clock.INF:
            raise ValueError(f"a clock moves forward by seconds, not by {seconds!r}")
        if _clock.virtual is not self:
            raise RuntimeError("a VirtualClock moves while it is entered")
        return self._now + seconds

    def _next(self) -> float | None:
        """The next instant at which something of tether's is due, if anything is."""
        with self._lock:
            while self._due and _is_over(self._due[0][2]):
                heappop(self._due)
            return self._due[0][0] if self._due else None

    def _step(self, end: float) -> bool:
        """Move to the next instant before `end` and do what is due there."""
        with self._lock:
            if not self._due or self._due[0][0] > end:
                self._now = end
                return False
            self._now = max(self._now, self._due[0][0])
            fires = []
            while self._due and self._due[0][0] <= self._now:
                fires.append(heappop(self._due)[2])
        for fire in fires:
            fire()
        self._activity += 1
        return True

    # -- settling --------------------------------------------------------------

    def settle(self) -> None:
        """Let everything run that can run without the clock moving.

        That is: until no callback is pending and each thread that was started inside
        this clock waits in tether, is blocked elsewhere, or has ended. A thread that
        computes without end holds it up.
        """
        while Standing.RUNNING in self._standing().values():
            sleep(GLANCE)

    async def settle_async(self) -> None:
        """Like `settle`, and the tasks of this event loop run until all wait."""
        quiet = 0
        while quiet < TURNS:
            before = self._activity
            await asyncio.sleep(0)
            self.settle()
            quiet = quiet + 1 if self._activity == before else 0

    def _standing(self) -> dict[int, Standing]:
        """How the threads stand that do not wait in tether."""
        before = self._activity
        self._looker = get_ident()
        working = self._working()
        standing = self._looks.at(working - {0})
        if 0 in working or len(standing) < len(working) or self._activity != before:
            # Work that no thread has taken yet. Or during the look one has ended or
            # begun to wait, and may have set another free that was thought to wait.
            standing[0] = Standing.RUNNING
        return standing

    def _working(self) -> set[int]:
        """The threads that may still be doing something; 0 for work in a queue."""
        me = get_ident()
        working = _pool.busy()
        working.update(one.ident for one in _threads.busy() if one.ident is not None)
        listed = {one for one in threading.enumerate() if one not in self._known}
        for thread in listed:
            working.add(thread.ident or 0)  # 0: on its way to its first line
        if self._is_one_ending(listed):
            working.add(0)
        working -= _pool.idle()
        working -= _threads.idle()
        working.discard(me)
        return working - self._waiting()

    def _is_one_ending(self, listed: set[threading.Thread]) -> bool:
        """Whether a thread is listed by `threading` no more and has not quite ended.

        Whoever joins it still waits for it; from Python 3.13 on, until the system's
        thread is gone as well, which is the last to go.
        """
        gone = self._started - listed
        # A dummy stands for a thread of somebody else's, whose end nobody hears of.
        self._started |= {
            one for one in listed if not isinstance(one, threading._DummyThread)
        }
        ending = {one for one in gone if one.is_alive() or is_there(one)}
        self._started -= gone - ending
        return bool(ending)

    def _read(self) -> bool:
        """Whether another thread has asked for the time since this was asked."""
        was, self._was_read = self._was_read, False
        return was

    def _waiting(self) -> set[int]:
        """The threads that wait in tether."""
        with self._lock:
            return {one for one, parker in self._parked.items() if not parker.woken}

    # -- what tether asks of it (see _clock.Virtual) -----------------------------

    def park(self, parker: Parker, until: float) -> None:
        """Block this thread until it is unparked or the clock shows `until`."""
        me = get_ident()
        if until != _clock.INF:
            self.call_at(until, parker.release)
        with self._lock:
            if _clock.virtual is not self:
                return  # left meanwhile; the real clock takes over
            self._parked[me] = parker
            self._activity += 1
        try:
            parker.block()
        finally:
            with self._lock:
                self._activity += 1
                self._parked.pop(me, None)

    def call_at(self, when: float, fire: Callable[[], object]) -> None:
        """Call `fire` when it shows `when`."""
        with self._lock:
            self._activity += 1
            heappush(self._due, (when, next(self._number), fire))


def _is_over(fire: Callable[[], object]) -> bool:
    """Whether it would end a wait that has ended before."""
    parker = getattr(fire, "__self__", None)
    return isinstance(parker, Parker) and parker.unparked
