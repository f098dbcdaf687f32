"""The shared timers: one queue per event loop, and one with a thread for the rest.

Most deadlines are never reached: a scope of two seconds is left after two milliseconds.
So an entry is first only put into a set, `fresh`. One wake-up is armed, at `armed`;
nothing in the set may be due before that, so only an entry that is nearer moves it.
When it comes, what is still in the set goes into a heap, once for each. So a short
scope costs one `set.add` and one `set.discard`, and no order is kept among entries that
nobody will need.

`armed` is never moved back when the nearest entry leaves: the wake-up finds nothing due
and arms the next. The heap holds numbers only; `_old` maps them to entries, so that an
entry that has left is referred to by nothing.
"""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from threading import RLock
from typing import Protocol

from . import _clock
from ._clock import INF, Parker


class Entry(Hashable, Protocol):
    """Something with a deadline."""

    _deadline: float

    def _due(self) -> None:
        """Its time has come. Called without a lock; must not block."""


class Timers:
    """Entries in the order of their deadlines, and one wake-up for the nearest."""

    __slots__ = ("_heap", "_number", "_old", "arm", "armed", "fresh", "numbers")

    def __init__(self, arm: Callable[[float], None]) -> None:
        self.arm = arm
        self.armed = INF
        self.fresh: set[Entry] = set()
        self._heap: list[tuple[float, int]] = []
        self._old: dict[int, Entry] = {}
        self.numbers: dict[Entry, int] = {}
        self._number = count()

    def __len__(self) -> int:
        return len(self.fresh) + len(self._old)

    def add(self, entry: Entry) -> None:
        """Call `entry._due()` at its deadline, unless it is discarded before."""
        self.fresh.add(entry)
        if entry._deadline < self.armed:
            self.armed = entry._deadline
            self.arm(self.armed)

    def discard(self, entry: Entry) -> None:
        """Forget `entry`. What is not there is no error."""
        self.fresh.discard(entry)
        if self.numbers:
            number = self.numbers.pop(entry, None)
            if number is not None:
                self._old.pop(number, None)
                # What has left stays in the heap as a number until it is due, or
                # until there is more of that than of the rest.
                if len(self._heap) > 64 and len(self._heap) > 2 * len(self._old):
                    self._heap = [one for one in self._heap if one[1] in self._old]
                    self._heap.sort()

    def take(self, now: float) -> list[Entry]:
        """What is due, in order; afterwards `armed` is the nearest of the rest.

        The caller arms the wake-up.
        """
        # Each is always in one of the two, for a handler that discards it meanwhile.
        for entry in [*self.fresh]:
            number = next(self._number)
            self._old[number] = entry
            self.numbers[entry] = number
            if entry in self.fresh:
                self.fresh.discard(entry)
                heappush(self._heap, (entry._deadline, number))
            else:
                self.discard(entry)
        due = []
        heap = self._heap
        while heap and (heap[0][0] <= now or heap[0][1] not in self._old):
            entry_due = self._old.pop(heappop(heap)[1], None)
            if entry_due is not None:
                self.numbers.pop(entry_due, None)
                due.append(entry_due)
        self.armed = heap[0][0] if heap else INF
        for entry in [*self.fresh]:  # added by a handler meanwhile
            self.armed = min(self.armed, entry._deadline)
        return due


class ThreadTimers:
    """Timers for whatever does not run in an event loop, served by one daemon thread.

    The lock is re-entrant for the reason given in `_tree` (6), and is never held while
    an entry runs.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._timers = Timers(self._arm)
        self._parker: Parker | None = None
        self._started = False

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._timers.add(entry)

    def discard(self, entry: Entry) -> None:
        with self._lock:
            self._timers.discard(entry)

    def __len__(self) -> int:
        return len(self._timers)

    def _arm(self, when: float) -> None:
        if _clock.virtual is not None:
            _clock.virtual.call_at(when, lambda: self._tick_at(when))
        elif not self._started:
            self._start()
        else:
            self.wake()

    def _start(self) -> None:
        try:
            start_new_thread(self._serve, ())
        except RuntimeError:
            # No thread to be had, as at the end of the process: the deadline is seen
            # by whoever looks, and the next entry tries again.
            self._timers.armed = INF
        else:
            self._started = True

    def wake(self) -> None:
        """Have the thread look at the clock and the queue again."""
        parker = self._parker
        if parker is not None:
            parker.unpark()

    def _tick_at(self, when: float) -> None:
        if when == self._timers.armed:  # else a nearer one was armed since
            self._tick()

    def _tick(self) -> float:
        with self._lock:
            due = self._timers.take(_clock.now())
            armed = self._timers.armed
            if _clock.virtual is not None and armed != INF:
                self._arm(armed)
        for entry in due:
            entry._due()
        return armed

    def _serve(self) -> None:
        while True:
            armed = self._tick()
            with self._lock:
                if self._timers.armed < armed:
                    continue
                parker = self._parker = Parker()
            parker.block(armed - _clock.now() if armed != INF else INF)

    def fork(self) -> None:
        """In a forked child: what was registered still has its deadline here."""
        self._lock = RLock()
        self._parker = None
        self._started = False
        if len(self._timers):
            self._start()


threads = ThreadTimers()

if hasattr(os, "register_at_fork"):
    # Held across the fork, so that the child finds no half-made queue. Lambdas, because
    # both names change.
    os.register_at_fork(
        before=lambda: threads._lock.acquire(),  # noqa: PLW0108
        after_in_parent=lambda: threads._lock.release(),  # noqa: PLW0108
        after_in_child=lambda: threads.fork(),  # noqa: PLW0108
    )
