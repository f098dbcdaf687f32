"""run(main): a program from its start to its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, TypeVar, TypeVarTuple, overload

from . import _current, _loops
from ._checks import callable_, seconds_
from ._context import Context, _made_here
from ._errors import NEGATIVE_DRAIN, RUN_ON_A_LOOP
from ._program import LoopFactory, Program
from ._roots import background
from .signals import TERMINATING, numbers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@overload
def run(
    main: Callable[[Context, *Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    signals: Iterable[int] = TERMINATING,
    drain: float = 30.0,
    loop_factory: LoopFactory | None = None,
) -> T: ...
@overload
def run(
    main: Callable[[Context, *Ts], T],
    *args: *Ts,
    signals: Iterable[int] = TERMINATING,
    drain: float = 30.0,
    loop_factory: LoopFactory | None = None,
) -> T: ...
def run(
    main: Callable[[Context, *Ts], Any],
    *args: *Ts,
    signals: Iterable[int] = TERMINATING,
    drain: float = 30.0,
    loop_factory: LoopFactory | None = None,
) -> Any:
    """What `main(ctx, *args)` returns: the whole of a program, with its shutdown.

    `main` is a plain function, which runs in this thread, or a coroutine function,
    which runs in an event loop of its own (of `loop_factory`, as in `asyncio.Runner`).

    The first of `signals` cancels `ctx`, with a `tether.signals.Signaled` as its cause.
    A coroutine is interrupted in its `await`; a plain function notices by its calls
    that take `ctx`. From then on there are `drain` seconds for everything to end: main,
    then detached work, tasks, the default executor, threads. What is left after that is
    reported by name, on the logger "tether", and the process leaves, with the status
    128 + n of signal n. A second signal leaves at once, with that same status.

    A `main` that returns after a signal has ended well: run returns what it returned.
    One that was interrupted, so that the error of `ctx` came out of it, has not:
    then run raises `KeyboardInterrupt` for SIGINT and `SystemExit(128 + n)` for others.
    Any other error of `main` is raised as it is.

    Without a signal the `drain` seconds start when `main` is over; what is left then is
    reported as well, and run returns.

        >>> from tether import run
        >>> async def main(ctx, name):
        ...     await ctx.sleep_async(0.001)
        ...     return f"hello, {name}"
        >>> run(main, "world")
        'hello, world'

    The outermost call of a program, in the main thread. Elsewhere pass `signals=()`.
    """
    callable_("run", main)
    if _loops.running_loop() is not None:
        raise RuntimeError(RUN_ON_A_LOOP)
    seconds = seconds_("drain", drain)
    if seconds < 0.0:
        raise ValueError(NEGATIVE_DRAIN.format(value=drain))
    wanted = numbers(signals)
    if loop_factory is not None:
        callable_("loop_factory", loop_factory)
    root = _made_here(background().with_cancel(), sys._getframe(1))
    with Program(main, root, seconds, wanted) as program:
        try:
            outcome = copy_context().run(_call, main, root, args)
            if isawaitable(outcome):
                outcome = program.on_a_loop(outcome, loop_factory)
        except BaseException as exc:
            error = program.in_place_of(exc)
            if error is not exc:
                raise error from None
            raise
    return outcome


def _call(main: Callable[..., T], ctx: Context, args: tuple[Any, ...]) -> T:
    _current.var.set(ctx)
    return main(ctx, *args)
