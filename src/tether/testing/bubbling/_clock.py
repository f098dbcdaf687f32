"""The clock of a bubble: it knows who is inside, and the test's own waits move it.

Inside are

- the thread that has entered the bubble, the owner;
- the threads that somebody inside has started;
- work that somebody inside has handed to a thread that is older, as executors and
  tether do: told by a context variable;
- tether's threads for callbacks.

An event loop of the bubble that has nothing to do moves the clock (see `_loops`). If
there is none the owner does, for as long as it waits in something of tether's, `time`
or `threading`: nobody else would. While it waits in something real, see `_guard`.
Whoever decides holds the wheel, so there is one at a time.
"""

from __future__ import annotations

import asyncio
import os
import threading
from _thread import get_ident
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import count
from time import sleep  # the real one: a bubble replaces time.sleep
from typing import Protocol, TypeVar, TypeVarTuple, final
from weakref import WeakSet

from ... import _clock, _loops, _pool, _timers
from ..._clock import INF, Parker
from .._pace import Move, Pace, deadlock, needed_for, spinning, who
from .._standing import Standing
from .._virtual import VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GLANCE = 0.0005
BUBBLE: ContextVar[int] = ContextVar("tether.testing.bubble", default=0)
_numbers = count(1)


class Running(Protocol):
    """What the clock asks an event loop that runs."""

    rests: bool  # it has nothing to do, and waits
    thread: int

    def is_called(self) -> bool:
        """Whether it has got something to do while it rests."""

    def as_loop(self) -> asyncio.AbstractEventLoop: ...


class Endless(Protocol):
    """A wait without a timeout."""

    def give_up(self) -> None:
        """End it, from another thread."""


@final
class BubbleClock(VirtualClock):
    """See the top of the file."""

    def __init__(self, grace: float, patience: float) -> None:
        super().__init__()
        self.number = next(_numbers)
        self.owner = get_ident()
        self.grace = grace
        self.patience = patience
        self.wheel = threading.RLock()  # held by whoever decides when it moves
        self.running: list[Running] = []  # the event loops
        self.loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._pools: WeakSet[Executor] = WeakSet()  # older, with work of ours
        self.is_stuck = False  # a deadlock has been found
        self._foreign: set[int] = set()
        self._endless: set[Endless] = set()
        self._joins: dict[Parker, threading.Thread] = {}

    # -- who is inside -------------------------------------------------------------

    def has(self, ident: int) -> bool:
        """Whether this thread, which asks, is inside."""
        if ident == self.owner or BUBBLE.get() == self.number:
            return True
        # Not current_thread(): that would make an object for a thread without one.
        thread = threading._active.get(ident)  # type: ignore[attr-defined]
        return ident in _pool._idents if thread is None else thread not in self._known

    def within(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """What `fn(*args)` returns, called in a thread that is inside meanwhile."""
        token = BUBBLE.set(self.number)
        try:
            return fn(*args)
        finally:
            BUBBLE.reset(token)

    def leave_outside(self, thread: threading.Thread) -> None:
        """A thread that somebody outside starts is not inside."""
        self._known.add(thread)

    def take_in(self, thread: threading.Thread) -> None:
        """One that somebody inside has started is: it may end before any look."""
        self._started.add(thread)

    def lend(self, pool: Executor) -> None:
        """Somebody inside hands work to this pool, which is older."""
        with self._lock:
            self._pools.add(pool)

    def lent(self) -> set[threading.Thread]:
        """The threads of such pools: they work for the bubble, or may come to."""
        with self._lock:
            pools = [*self._pools]
        return {one for pool in pools for one in [*getattr(pool, "_threads", ())]}

    # -- how they stand ------------------------------------------------------------

    @contextmanager
    def foreign(self) -> Iterator[None]:
        """This thread waits for somebody outside: an answer may be coming."""
        me = get_ident()
        with self._lock:
            self._foreign.add(me)
        try:
            yield
        finally:
            with self._lock:
                self._foreign.discard(me)

    def _working(self) -> set[int]:
        also = {self.owner} | {one.ident or 0 for one in self.lent()}
        also.discard(get_ident())
        return (super()._working() | also) - self._waiting()

    def _waiting(self) -> set[int]:
        return super()._waiting() | {loop.thread for loop in self.resting()}

    @contextmanager
    def rest(self, loop: Running) -> Iterator[None]:
        """This event loop has nothing to do meanwhile."""
        with self._lock:
            loop.rests = True
            self._activity += 1
        try:
            yield
        finally:
            with self._lock:
                self._activity += 1
                loop.rests = False

    def resting(self) -> list[Running]:
        """The event loops that have nothing to do."""
        return [loop for loop in [*self.running] if loop.rests]

    def _standing(self) -> dict[int, Standing]:
        before = self._activity
        standing = super()._standing()
        with self._lock:
            foreign, joins = [*self._foreign], [*self._joins.items()]
        for ident in foreign:
            standing.setdefault(ident, Standing.FOREIGN)
        called = any(loop.is_called() for loop in self.resting())
        for parker, thread in joins:
            if not parker.unparked and not thread.is_alive():
                parker.unpark()
                called = True
        if called or self._activity != before:
            standing[0] = Standing.RUNNING
        return standing

    def who(self) -> list[str]:
        """Who is inside, and where; for reports."""
        lent = self.lent()
        inside = [
            one
            for one in threading.enumerate()
            if one not in self._known or one.ident == self.owner or one in lent
        ]
        return who([loop.as_loop() for loop in [*self.running]], inside)

    # -- waiting -------------------------------------------------------------------

    def park(self, parker: Parker, until: float) -> None:
        """Block this thread until it is unparked or the clock shows `until`."""
        if get_ident() != self.owner or _clock.virtual is not self:
            super().park(parker, until)
            return
        me = self.owner
        if until != INF:
            self.call_at(until, parker.release)
        with self._lock:
            self._parked[me] = parker
            self._activity += 1
        pace = Pace(self.grace, self.patience)
        pace.begin()
        try:
            while not parker.woken:
                if self.resting():
                    pace.begin()  # one of them has the wheel, or is about to
                elif self.wheel.acquire(blocking=False):
                    try:
                        self._steer(pace, parker)
                    finally:
                        self.wheel.release()
                if not parker.woken:
                    parker.block(GLANCE)
        finally:
            with self._lock:
                self._activity += 1
                self._parked.pop(me, None)

    def _steer(self, pace: Pace, parker: Parker) -> None:
        """Move, if nothing else can happen, to the next instant at which one is due."""
        standing = self._standing()
        if parker.woken:
            return  # by one that has ended before this look
        when = self._next()

        def needed() -> float:
            return needed_for(standing.values(), self.grace, timer=when is not None)

        move = pace.look(standing.values(), needed, read=self._read())
        if move is Move.CREEP:
            self._step(self.now() + pace.creep)
        elif move is Move.STAND:
            if Standing.RUNNING in standing.values() and pace.is_over():
                raise spinning(self.now(), self.patience, self.who())
        elif when is None:
            self.is_stuck = True
            raise deadlock(self.now(), self.who())
        else:
            self._step(when)

    def settle(self) -> None:
        """Return when all others wait; the clock does not move."""
        pace = Pace(self.grace, self.patience)
        pace.begin()
        while True:
            with self.wheel:
                standing = self._standing()

            def needed(standing: dict[int, Standing] = standing) -> float:
                return needed_for(standing.values(), self.grace, timer=True)

            if pace.look(standing.values(), needed) is Move.JUMP:
                return
            if Standing.RUNNING in standing.values() and pace.is_over():
                raise spinning(self.now(), self.patience, self.who())
            sleep(GLANCE)

    @contextmanager
    def endless(self, wait: Endless) -> Iterator[None]:
        """This thread waits so; given up at the end if the bubble had a deadlock.

        Else it would hold up the end of the process for ever.
        """
        with self._lock:
            self._endless.add(wait)
        try:
            yield
        finally:
            with self._lock:
                self._endless.discard(wait)

    def give_up(self) -> None:
        """End the waits that nobody will end, after a deadlock."""
        with self._lock:
            waits = [*self._endless] if self.is_stuck else []
        for wait in waits:
            wait.give_up()

    def join(self, thread: threading.Thread, until: float) -> None:
        """Wait until this thread has ended or the clock shows `until`.

        An end tells nobody. So whoever may move the clock looks for it first.
        """
        parker = Parker()
        with self._lock:
            self._joins[parker] = thread
        try:
            with self.foreign() if thread in self._known else nullcontext():
                parker.park(until)
        finally:
            with self._lock:
                del self._joins[parker]


def here() -> BubbleClock | None:
    """The clock of the bubble that the calling thread is inside of."""
    clock = _clock.virtual
    if isinstance(clock, BubbleClock) and clock.has(get_ident()):
        return clock
    return None


def _forget() -> None:
    """In a forked child time is real: the threads that moved the clock are gone."""
    clock = _clock.virtual
    if isinstance(clock, BubbleClock):
        _clock.virtual = None
        _clock.now, _timers.threads, states = clock._saved
        _timers.threads.fork()
        _loops.restore(states)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
