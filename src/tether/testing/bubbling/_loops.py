"""The event loops of a bubble: whoever asks asyncio for one inside gets one of these.

So `asyncio.run`, and the plugins of pytest that run tests, need not know of it. A loop
of another kind keeps a time of its own, and would wait in it for ever: it is refused.
"""

from __future__ import annotations

import asyncio
import sys
from _thread import get_ident
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial, wraps
from inspect import iscoroutine
from typing import Any, TypeVar

from ... import _loops
from .._loop import Key, Loop
from .._pace import Pace
from ._clock import BubbleClock, here
from ._replaced import Fakes, Pairs

T = TypeVar("T")

FOREIGN = [
    ("trio", "run"),
    ("trio.lowlevel", "start_guest_run"),
    ("uvloop", "new_event_loop"),
]
REST = 0.005  # how often a loop that rests looks whether the wheel is free
OF_PYTHON = (ProcessPoolExecutor, ThreadPoolExecutor)

_real_new = asyncio.new_event_loop
_real_run_forever = asyncio.BaseEventLoop.run_forever
_real_run = asyncio.Runner.run
_real_get_loop = asyncio.Runner.get_loop
_real_close = asyncio.Runner.close
# Whether a runner is about to close its loop, which may be one that has been refused.
_closing: ContextVar[bool] = ContextVar("tether.testing.closing", default=False)


class BubbleLoop(Loop):
    """A loop that moves the clock of its bubble while it has nothing to do.

    Of several, in threads, one has the wheel; the others rest beside it. It sees to
    their timers and descriptors as to its own.
    """

    def __init__(self, clock: BubbleClock) -> None:
        super().__init__(clock, Pace(clock.grace, clock.patience))
        self.clock = clock
        self.rests = False
        self.thread = 0

    def run_forever(self) -> None:
        self.thread = get_ident()
        self.clock.running.append(self)
        try:
            super().run_forever()
        finally:
            self.clock.running.remove(self)

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return self

    def _wait(self) -> list[tuple[Key, int]]:
        wheel = self.clock.wheel
        if not wheel.acquire(blocking=False):
            with self.clock.rest(self):
                while not wheel.acquire(blocking=False):
                    events = self._fds.really(REST)
                    if events or self._is_due():
                        return events
        try:
            return super()._wait()
        finally:
            wheel.release()

    def _is_due(self) -> bool:
        due = self.due()
        return due is not None and due <= self.time()

    def is_called(self) -> bool:
        """Whether it has got something to do; asked by another thread."""
        try:
            return self._is_due() or bool(self._fds.really(0.0))
        except (OSError, ValueError):
            return True  # it has just been closed

    # -- for all loops that rest, if this one has the wheel ------------------------

    def _all(self) -> list[BubbleLoop]:
        resting = self.clock.resting()
        return [self, *(one for one in resting if isinstance(one, BubbleLoop))]

    def _when(self) -> float | None:
        due = [one.due() for one in self._all()]
        due.append(self.clock._next())
        return min((one for one in due if one is not None), default=None)

    def handed(self) -> list[int | None]:
        return [ran for one in self._all() for ran in Loop.handed(one)]

    def files(self) -> set[Any]:
        return {file for one in self._all() for file in Loop.files(one)}

    def _is_asked(self) -> bool:
        return any(one._quiet for one in self._all())

    def _told_quiet(self) -> bool:
        asked = [one for one in self._all() if one._quiet]
        for one in asked:
            if one is not self:
                _loops.call_soon(one, partial(Loop._told_quiet, one))
        return Loop._told_quiet(self) or bool(asked)

    def _jump(self, when: float) -> None:
        super()._jump(when)
        for one in self._all():
            if one is not self and one._is_due():
                _loops.call_soon(one, int)  # any call wakes it

    # ------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As ever; whichever thread does the work, it is inside meanwhile."""
        # Those of the standard library see to it themselves, see _threads.
        if executor is None or isinstance(executor, OF_PYTHON):
            return super().run_in_executor(executor, func, *args)
        self.clock.lend(executor)
        return super().run_in_executor(executor, self.clock.within, func, *args)

    def _give_up(self) -> None:
        super()._give_up()
        self.clock.is_stuck = True

    def who(self) -> list[str]:
        return self.clock.who()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    clock = here()
    if clock is None:
        return _real_new()
    loop = BubbleLoop(clock)
    clock.loops.add(loop)
    return loop


def _refusal(what: str) -> RuntimeError:
    return RuntimeError(
        f"{what} does not run inside this bubble: its time is another. Let asyncio "
        "make the event loop, inside: no uvloop, no trio, no loop_factory; under "
        'pytest-asyncio with loop_scope="function", under anyio on asyncio and without '
        "async fixtures of a wider scope"
    )


def _check(loop: object) -> None:
    clock = here()
    if clock is None or _closing.get():
        return
    if not isinstance(loop, BubbleLoop) or loop.clock is not clock:
        kind = type(loop)
        raise _refusal(f"a {kind.__module__}.{kind.__qualname__}")


class Runner:
    """What takes the place of methods of `asyncio.Runner`."""

    def get_loop(self: Any) -> asyncio.AbstractEventLoop:
        loop = _real_get_loop(self)
        _check(loop)
        return loop

    def run(self: Any, coro: Coroutine[Any, Any, T], **options: Any) -> T:
        try:
            _check(_real_get_loop(self))
        except RuntimeError:
            if iscoroutine(coro):
                coro.close()
            raise
        return _real_run(self, coro, **options)

    def close(self: Any) -> None:
        token = _closing.set(True)
        try:
            _real_close(self)
        finally:
            _closing.reset(token)


def pairs() -> Pairs:
    """What makes or runs loops, and what takes its place; see `replaced`."""
    found: Pairs = [(_real_new, _new_event_loop)]
    for name, function in FOREIGN:
        real = getattr(sys.modules.get(name), function, None)
        if real is not None:
            found.append((real, _refusing(real, f"{name}.{function}()")))
    return found


def _refusing(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(real)
    def refuse(*args: Any, **kw: Any) -> Any:
        if here() is not None:
            raise _refusal(name)
        return real(*args, **kw)

    return refuse


class BaseEventLoop:
    """What takes the place of a method of `asyncio.BaseEventLoop`."""

    def run_forever(self: Any) -> None:
        _check(self)
        _real_run_forever(self)


FAKES: Fakes = [
    (asyncio.Runner, Runner, ["get_loop", "run", "close"]),
    (asyncio.BaseEventLoop, BaseEventLoop, ["run_forever"]),
]
