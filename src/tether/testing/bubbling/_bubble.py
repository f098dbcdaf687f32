"""The public names: bubble, and wait inside it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, final, overload

from ... import _clock, _loops, _pool, _threads, _where
from ..._checks import seconds_
from . import _loops as loops
from . import _threads as threads
from ._clock import BUBBLE, BubbleClock, here
from ._guard import Guard
from ._replaced import patched, replaced
from ._times import TIMES

P = ParamSpec("P")
T = TypeVar("T")


class Unfinished(RuntimeError):
    """A bubble was left while tasks or threads that it had started still ran.

    The text names them.
    """


@final
class Bubble:
    """What `bubble()` makes: a context manager, entered once, and a decorator."""

    def __init__(self, grace: float, patience: float) -> None:
        for name, value in (("grace", grace), ("patience", patience)):
            if not seconds_(name, value) >= 0.0:
                raise ValueError(f"{name} is 0 or more seconds, not {value!r}")
        self._options = (grace, patience)
        self._stack = ExitStack()
        self._clock: BubbleClock | None = None

    @overload
    def __call__(
        self, test: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Callable[P, T]: ...
    @overload
    def __call__(self, test: Callable[P, T], /) -> Callable[P, T]: ...
    def __call__(self, test: Callable[P, Any], /) -> Callable[P, Any]:
        """The function, which runs in a new bubble each time."""
        if not callable(test) or inspect.isclass(test):
            raise TypeError(f"@bubble takes a function, not {test!r}")
        if inspect.isgeneratorfunction(test) or inspect.isasyncgenfunction(test):
            raise TypeError(
                f"@bubble takes a function, not the generator {test!r}; "
                "in a fixture: with bubble(): yield"
            )

        @wraps(test)
        def inside(*args: P.args, **kw: P.kwargs) -> Any:
            if inspect.iscoroutinefunction(test):
                _refuse_in_loop()
                with Bubble(*self._options) as one:
                    return one._run(test(*args, **kw))
            with Bubble(*self._options):
                result = test(*args, **kw)
                if inspect.iscoroutine(result):
                    result.close()
                    raise TypeError(
                        f"{test!r} has returned a coroutine, which would run after the "
                        "bubble: put @bubble directly above its async def"
                    )
                return result

        return inside

    def __enter__(self) -> Self:
        if self._clock is not None:
            raise RuntimeError("a bubble is entered once; make another")
        _refuse_in_loop()
        if _clock.virtual is not None:
            raise RuntimeError(
                "a bubble, a VirtualClock or a testing.run() is open in this process "
                "already: they do not nest, and only one at a time can be open; under "
                "pytest, a test with the fixture `bubble` needs no other"
            )
        clock = BubbleClock(*self._options)
        with self._stack as stack:
            stack.enter_context(clock)
            stack.callback(clock.give_up)
            stack.callback(Guard(clock).end)
            stack.enter_context(patched([*threads.FAKES, *loops.FAKES]))
            stack.enter_context(replaced([*TIMES, *loops.pairs()]))
            self._stack = stack.pop_all()
        BUBBLE.set(clock.number)  # of no other bubble, so it may stay
        self._clock = clock
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        clock = self._clock
        assert clock is not None
        with self._stack:
            if exc is not None or clock.is_stuck:
                return  # which has been told, and explains what is left
            clock.settle()
            left = _left(clock)
            if left:
                raise _unfinished(left)

    def _run(self, test: Coroutine[Any, Any, T]) -> T:
        """What this coroutine returns, run on a loop of this bubble, which is open."""
        return asyncio.run(_whole(test))


async def _whole(test: Coroutine[Any, Any, T]) -> T:
    """What it returns; fails if tasks are left that do not end by themselves."""
    result = await test
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    if asyncio.all_tasks() - {me}:
        assert isinstance(loop, loops.BubbleLoop)
        await loop.quiet()
    left = asyncio.all_tasks() - {me}
    if left:
        raise _unfinished(sorted(map(_where.task, left)))
    return result


def _left(clock: BubbleClock) -> list[str]:
    """What has been started inside and is still there."""
    idle = _pool.idle() | _threads.idle()
    others = clock._known | clock.lent()
    left = [
        _where.thread(one)
        for one in threading.enumerate()
        if one not in others and one.ident not in idle
    ]
    if not all(loop.is_closed() for loop in clock.loops):
        left.append(
            "an event loop that is not closed (under pytest-asyncio, a bubble needs "
            'loop_scope="function")'
        )
    return sorted(left)


def _refuse_in_loop() -> None:
    if _loops.running_loop() is not None:
        raise RuntimeError(
            "a bubble is not opened in a running event loop, whose time is real: put "
            "@bubble on the async def and call that from plain code (take the asyncio "
            "marker from the test), or use the fixture `bubble`"
        )


def _unfinished(who: list[str]) -> Unfinished:
    return Unfinished(
        "the bubble is over and what it started is not; end it, join it:\n  "
        + "\n  ".join(who)
    )


@overload
def bubble(test: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
@overload
def bubble(test: Callable[P, T], /) -> Callable[P, T]: ...
@overload
def bubble(*, grace: float = 0.1, patience: float = 10.0) -> Bubble: ...
def bubble(
    test: Callable[..., Any] | None = None,
    /,
    *,
    grace: float = 0.1,
    patience: float = 10.0,
) -> Any:
    """A test on a clock that jumps when everything waits.

    `time`, `datetime`, `asyncio`, `threading`, `queue` and tether's contexts show one
    time, which starts at 0 (`time.time()`: at 2000-01-01 UTC). All that is started
    inside has to end inside.

    A decorator; an `async def` becomes a plain function with an event loop of its own:

        >>> import asyncio, time
        >>> from tether.testing import bubble
        >>> @bubble
        ... async def scenario():
        ...     await asyncio.to_thread(time.sleep, 600.0)
        ...     return time.monotonic()
        >>> scenario()
        600.0

    A context manager for plain code, in which `asyncio.run` may be called:

        >>> with bubble():
        ...     time.sleep(3600.0)
        ...     time.monotonic()
        3600.0

    And a pytest fixture, for tests of both kinds.

    `grace` is how many real seconds of silence it takes before the clock jumps while
    somebody outside may still answer; `patience`, how many real seconds a task or a
    thread may go on without ever waiting. Raises `Deadlock` when all wait for each
    other, `Spinning` for want of patience, `Unfinished` for what is left at the end;
    `RuntimeError` in a running event loop and in another bubble.
    """
    made = Bubble(grace, patience)
    return made if test is None else made(test)


def wait() -> None:
    """Return when all others in the bubble wait; the clock does not move.

    For the plain code of a test; in a task `await wait_async()`. What waits for
    somebody outside counts as waiting after `grace` real seconds.
    """
    if _loops.running_loop() is not None:
        raise RuntimeError("wait() would block the event loop; await wait_async()")
    clock = _inside("wait()")
    if threading.get_ident() != clock.owner:
        raise RuntimeError("wait() is for the test itself, not for its threads")
    for loop in [*clock.running]:  # in other threads
        if isinstance(loop, loops.BubbleLoop):
            asyncio.run_coroutine_threadsafe(loop.quiet(), loop).result()
            return
    clock.settle()


async def wait_async() -> None:
    """Return when all other tasks and threads of the bubble wait.

    The clock does not move meanwhile. Two that wait so return together.
    """
    _inside("wait_async()")
    loop = asyncio.get_running_loop()
    assert isinstance(loop, loops.BubbleLoop)  # others do not run inside
    await loop.quiet()


def _inside(name: str) -> BubbleClock:
    clock = here()
    if clock is None:
        raise RuntimeError(f"{name} is called inside a bubble")
    return clock
