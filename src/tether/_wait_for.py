"""wait_for: something that will happen, or the end of the context.

Whatever tells when it happens is heard through a `Signal`, and the wait is one permit
of a line that the signal gives. A future has no way to take a callback back, so each
gets one signal, at the first wait: a loop of short waits for one long future leaves
nothing behind on it.

A `threading.Event` tells nobody. Dropped: looking at it every few milliseconds, which
is late and wakes the process all day; hiding a lock among those of its private
condition. It is refused, and `Signal` is named, which has `set()` and `is_set()` too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import Context as Variables
from types import CoroutineType
from typing import Any, NoReturn, TypeVar, overload
from weakref import WeakKeyDictionary

from . import _loops
from ._context import Context
from ._errors import (
    CANNOT_WAIT_FOR,
    FUTURE_OF_A_LOOP,
    FUTURE_OF_ANOTHER_LOOP,
    NOTHING_TO_HEAR,
    WAIT_FOR_AWAITABLES,
    WAIT_FOR_FUTURES,
)
from ._line import Line, admit
from ._signal import Signal
from ._tree import lock

T = TypeVar("T")
Futures = Future[Any] | asyncio.Future[Any]

_signals: WeakKeyDictionary[Futures, Signal] = WeakKeyDictionary()


@overload
def wait_for(ctx: Context, what: Future[T]) -> T: ...
@overload
def wait_for(ctx: Context, what: Signal) -> None: ...
def wait_for(ctx: Context, what: Future[T] | Signal) -> T | None:
    """The result of `what`, waited for in a thread until `ctx` ends.

    `what` is a `concurrent.futures.Future`, whose result is returned or whose error is
    raised, or a `Signal`: `other.done_signal()` for the end of another context. When
    `ctx` ends first, or is over, its error is raised and the future is left alone: it
    may have others who wait, and ending the work is for whoever started it. In a task:
    `await wait_for_async(...)`.

        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from tether import background, wait_for
        >>> with ThreadPoolExecutor() as pool, background().with_timeout(5.0) as ctx:
        ...     wait_for(ctx, pool.submit(pow, 2, 10))
        1024
    """
    _loops.refuse_to_block("wait_for", "await wait_for_async(ctx, ...)")
    if isinstance(what, asyncio.Future):
        _refuse("wait_for", what, FUTURE_OF_A_LOOP)
    if not isinstance(what, Future | Signal):
        _refuse("wait_for", what, WAIT_FOR_FUTURES)
    admit("wait_for", ctx)
    signal = _signal_of(what)
    if not signal.is_set():
        line, remove = _listen(signal)
        try:
            line.wait(ctx)
        finally:
            remove()
    return None if isinstance(what, Signal) else what.result()


@overload
async def wait_for_async(
    ctx: Context, what: Future[T] | asyncio.Future[T] | Awaitable[T]
) -> T: ...
@overload
async def wait_for_async(ctx: Context, what: Signal | asyncio.Event) -> None: ...
async def wait_for_async(
    ctx: Context,
    what: Future[T] | asyncio.Future[T] | Awaitable[T] | Signal | asyncio.Event,
) -> T | None:
    """The result of `what`, waited for in a task until `ctx` ends.

    Besides what `wait_for` takes, `what` may be a future or task of this loop, which
    is left alone when `ctx` ends first; and an `asyncio.Event`, a coroutine or anything
    else to await, which is awaited here and interrupted when `ctx` ends. Raises as
    `ctx.check()` does.

        >>> import asyncio
        >>> from tether import DeadlineExceeded, background, wait_for_async
        >>> async def main() -> None:
        ...     ready = asyncio.Event()
        ...     try:
        ...         await wait_for_async(background().with_timeout(0.01), ready)
        ...     except DeadlineExceeded:
        ...         print("not ready")
        >>> asyncio.run(main())
        not ready
    """
    if not isinstance(what, Future | asyncio.Future | Signal):
        return await _await(ctx, what)
    if (
        isinstance(what, asyncio.Future)
        and what.get_loop() is not _loops.running_loop()
    ):
        _refuse("wait_for_async", what, FUTURE_OF_ANOTHER_LOOP)
    admit("wait_for_async", ctx)
    signal = _signal_of(what)
    if not signal.is_set():
        line, remove = _listen(signal)
        try:
            await line.wait_async(ctx)
        finally:
            remove()
    return None if isinstance(what, Signal) else what.result()


async def _await(ctx: Context, what: Awaitable[T] | asyncio.Event) -> T | None:
    if isinstance(what, asyncio.Event):
        await _await(ctx, what.wait())
        return None
    if not isinstance(what, Awaitable):
        _refuse("wait_for_async", what, WAIT_FOR_AWAITABLES)
    try:
        admit("wait_for_async", ctx)
        with ctx.with_cancel():
            return await what
    finally:
        if isinstance(what, CoroutineType):
            what.close()  # not begun, if ctx was over


def _refuse(name: str, what: object, cure: str) -> NoReturn:
    if isinstance(what, threading.Event):
        cure = NOTHING_TO_HEAR
    raise TypeError(CANNOT_WAIT_FOR.format(name=name, value=what, cure=cure))


def _listen(signal: Signal) -> tuple[Line, Callable[[], bool]]:
    """A line that is given a permit when the signal is set, and how to stop that."""
    line = Line(0)
    return line, signal.add_callback(line.give)


def _signal_of(what: Futures | Signal) -> Signal:
    """Set when it is done."""
    if isinstance(what, Signal):
        return what
    with lock:
        signal = _signals.get(what)
        if signal is not None:
            return signal
        signal = _signals[what] = Signal()

    def done(_: object) -> None:
        signal.set()

    if isinstance(what, asyncio.Future):
        what.add_done_callback(done, context=Variables())  # nobody's, see _loops
    else:
        what.add_done_callback(done)
    return signal
