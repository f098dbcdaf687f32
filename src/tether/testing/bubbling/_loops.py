"""The event loops of a bubble: whoever asks asyncio for one inside gets one of these.

So `asyncio.run`, and the plugins of pytest that run tests, need not know of it. A loop
of another kind keeps a time of its own, and would wait in it for ever: it is refused.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from .._loop import Loop
from .._pace import Pace
from ._clock import BubbleClock, here
from ._replaced import Fakes, Pairs

T = TypeVar("T")

FOREIGN = [
    ("trio", "run"),
    ("trio.lowlevel", "start_guest_run"),
    ("uvloop", "new_event_loop"),
]
OF_PYTHON = (ProcessPoolExecutor, ThreadPoolExecutor)

_real_new = asyncio.new_event_loop
_real_run_forever = asyncio.BaseEventLoop.run_forever
_real_run = asyncio.Runner.run
_real_get_loop = asyncio.Runner.get_loop
_real_close = asyncio.Runner.close
# Whether a runner is about to close its loop, which may be one that has been refused.
_closing: ContextVar[bool] = ContextVar("tether.testing.closing", default=False)


class BubbleLoop(Loop):
    """A loop that moves the clock of its bubble while it runs."""

    def __init__(self, clock: BubbleClock) -> None:
        super().__init__(clock, Pace(clock.grace, clock.patience))
        self.clock = clock

    def run_forever(self) -> None:
        clock, before = self.clock, self.clock.loop
        clock.loop = self
        try:
            super().run_forever()
        finally:
            clock.loop = before

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """As ever; whichever thread does the work, it is inside meanwhile."""
        # Those of the standard library see to it themselves, see _threads.
        if executor is None or isinstance(executor, OF_PYTHON):
            return super().run_in_executor(executor, func, *args)
        self.clock.lend(executor)
        return super().run_in_executor(executor, self.clock.within, func, *args)

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
    if clock.loop not in {None, loop}:
        raise RuntimeError(
            "a bubble runs one event loop at a time, and another one runs in it: put "
            "the tasks of both into one"
        )


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
