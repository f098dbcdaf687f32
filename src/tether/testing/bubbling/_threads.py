"""The waits of `threading` for those inside a bubble: their timeouts go by its clock.

All that waits in `threading`, `queue` and `concurrent.futures` waits in a Condition, so
it is enough to change that: a thread inside waits in it as it waits in tether. What is
left are the joins of threads, and locks themselves, whose timeouts stay real. A thread
is inside if it was started there; one of an older pool, while it works for the bubble.

A Condition that was made outside may be notified from outside, where nobody can see
that it is about to be. While somebody waits in one, the clock jumps after `grace` real
seconds of silence, as with a socket.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

from ... import _clock
from ..._clock import INF, Parker
from ._clock import BubbleClock, here
from ._replaced import Fakes, before

MADE_IN = "_tether_bubble"

# Set while this thread starts another: its wait for that is real, and none of the test.
_starting = threading.local()


class _Waiter:
    """What a Condition keeps of one that waits: notify() releases it, like a lock."""

    __slots__ = ("is_given_up", "parker")

    def __init__(self) -> None:
        self.parker = Parker()
        self.is_given_up = False

    def release(self) -> None:
        self.parker.unpark()

    def give_up(self) -> None:
        self.is_given_up = True
        self.parker.unpark()


class Condition:
    """What takes the place of two methods of `threading.Condition`."""

    def __init__(self: Any, lock: Any = None) -> None:
        before[threading.Condition, "__init__"](self, lock)
        clock = here()
        if clock is not None:
            setattr(self, MADE_IN, clock.number)

    def wait(self: Any, timeout: float | None = None) -> bool:
        """Like the real one, which it calls for those outside.

        SystemExit, which ends a thread quietly, in one that a deadlock has left here.
        """
        clock = here()
        if clock is None or not self._is_owned() or vars(_starting):
            woken: bool = before[threading.Condition, "wait"](self, timeout)
            return woken
        until = INF if timeout is None else clock.now() + max(timeout, 0.0)
        is_foreign = getattr(self, MADE_IN, 0) != clock.number
        waiter = _Waiter()
        self._waiters.append(waiter)
        saved = self._release_save()
        try:
            with ExitStack() as stack:
                if is_foreign:
                    stack.enter_context(clock.foreign())
                elif timeout is None:
                    stack.enter_context(clock.endless(waiter))
                waiter.parker.park(until)
        finally:
            self._acquire_restore(saved)
            # Under the lock, so that no notify() is lost on one whose time was up.
            notified = waiter.parker.unparked and not waiter.is_given_up
            if not notified and waiter in self._waiters:
                self._waiters.remove(waiter)
        if waiter.is_given_up:
            raise SystemExit("the bubble that this thread waited in had a deadlock")
        return notified


class Thread:
    """What takes the place of two methods of `threading.Thread`."""

    def start(self: Any) -> None:
        """Like the real one; the thread is inside if the caller is."""
        clock = here()
        if clock is None and isinstance(_clock.virtual, BubbleClock):
            _clock.virtual.leave_outside(self)
        _starting.thread = self
        try:
            before[threading.Thread, "start"](self)
            if clock is not None:
                clock.take_in(self)
        finally:
            vars(_starting).clear()

    def join(self: Any, timeout: float | None = None) -> None:
        """Like the real one, which it calls for those outside."""
        clock = here()
        ours = clock is not None and (timeout is not None or get_ident() == clock.owner)
        if clock is not None and ours and self.is_alive() and self.ident != get_ident():
            until = INF if timeout is None else clock.now() + max(timeout, 0.0)
            clock.join(self, until)
            if self.is_alive():
                return
        before[threading.Thread, "join"](self, timeout)


class Pool:
    """What takes the place of two methods of `ThreadPoolExecutor`."""

    def __init__(self: Any, *args: Any, **kw: Any) -> None:
        before[ThreadPoolExecutor, "__init__"](self, *args, **kw)
        clock = here()
        if clock is not None:
            setattr(self, MADE_IN, clock.number)

    def submit(
        self: Any, fn: Callable[..., Any], /, *args: Any, **kw: Any
    ) -> Future[Any]:
        """Like the real one; what somebody inside submits is done inside."""
        clock = here()
        if clock is not None and callable(fn):
            if getattr(self, MADE_IN, 0) != clock.number:
                clock.lend(self)
            fn, args, kw = clock.within, (partial(fn, *args, **kw),), {}
        future: Future[Any] = before[ThreadPoolExecutor, "submit"](
            self, fn, *args, **kw
        )
        return future


FAKES: Fakes = [
    (threading.Condition, Condition, ["__init__", "wait"]),
    (threading.Thread, Thread, ["start", "join"]),
    (ThreadPoolExecutor, Pool, ["__init__", "submit"]),
]
