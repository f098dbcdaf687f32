"""run(main): a scenario on an event loop whose time does not wait, see `_loop`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, TypeVar, TypeVarTuple

from .. import _loops, background
from .._checks import callable_, seconds_
from .._context import Context
from ._loop import Loop
from ._pace import Pace
from ._virtual import VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(
    main: Callable[[Context, *Ts], Coroutine[Any, Any, T]],
    *args: *Ts,
    grace: float = 0.1,
) -> T:
    """What `main(ctx, *args)` returns, on a clock that does not wait.

    Whenever nothing is left to do, the clock jumps to the next timer: a scenario of
    hours takes milliseconds, and its instants are exact. `asyncio.sleep`, `call_later`,
    `asyncio.timeout` and `loop.time()` go by it as contexts do; it starts at 0.

        >>> import asyncio
        >>> from tether import DeadlineExceeded
        >>> from tether.testing import run
        >>> async def main(ctx):
        ...     try:
        ...         with ctx.with_timeout(3600.0):
        ...             await asyncio.sleep(7200.0)
        ...     except DeadlineExceeded:
        ...         return asyncio.get_running_loop().time()
        >>> run(main)
        3600.0

    Threads and real connections take their real time, in which the clock stands.
    `grace` is how many real seconds of silence it takes before it jumps while something
    outside may still answer: make it longer than the slowest answer. `time.sleep` and
    `time.monotonic` go on as they do; in a `bubble` they do not.

    Raises `Deadlock` when every task waits and no timer is set.
    """
    callable_("run", main)
    if not iscoroutinefunction(main):
        raise TypeError(
            f"testing.run() runs a coroutine function, not {main!r}; "
            "for plain functions: with VirtualClock() as clock"
        )
    if _loops.running_loop() is not None:
        raise RuntimeError("testing.run() starts a loop of its own; one runs here")
    if not seconds_("grace", grace) >= 0.0:
        raise ValueError(f"grace is 0 or more seconds, not {grace!r}")
    with VirtualClock() as clock:
        pace = Pace(grace)
        with asyncio.Runner(loop_factory=lambda: Loop(clock, pace)) as runner:
            return runner.run(_main(main, args))


async def _main(
    main: Callable[[Context, *Ts], Coroutine[Any, Any, T]], args: tuple[*Ts]
) -> T:
    with background().with_cancel() as ctx:
        return await main(ctx, *args)
