"""A blocking function in a thread, awaited: ns per call, start to result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Side, Where
from bench.scopes import HOUR
from tether import Context, background, to_thread

ASYNCIO, ANYIO, TETHER = "asyncio.to_thread", "anyio.to_thread.run_sync", "to_thread"
BLOCK = 0.002
AT_ONCE = 50

Call = Callable[[Context], Awaitable[object]]
Run = Callable[[int], Coroutine[object, None, int]]


def nothing(*_: object) -> None: ...


def block(*_: object) -> None:
    time.sleep(BLOCK)


def tethers(fn: Callable[[Context], None], *, abandon: bool = False) -> Call:
    return lambda ctx: to_thread(ctx, fn, abandon=abandon)


def asyncios(fn: Callable[[], None]) -> Call:
    return lambda _: asyncio.to_thread(fn)


def anyios(fn: Callable[[], None]) -> Call:
    def call(_: Context) -> Awaitable[object]:
        import anyio.to_thread

        return anyio.to_thread.run_sync(fn)

    return call


def one_by_one(call: Call) -> Run:
    async def run(n: int) -> int:
        with background().with_timeout(HOUR) as ctx:
            start = now()
            for _ in range(n):
                await call(ctx)
            return now() - start

    return run


def at_once(call: Call) -> Run:
    async def run(n: int) -> int:
        with background().with_timeout(HOUR) as ctx:
            start = now()
            for _ in range(n):
                await asyncio.gather(*[call(ctx) for _ in range(AT_ONCE)])
            return now() - start

    return run


def cases(_: Effort) -> list[Case]:
    """One call after the other, on both loops; fifty that block for 2 ms."""
    found = []
    loops: list[Where] = ["asyncio", "uvloop"]
    for loop in loops:
        sides = [
            Side(ASYNCIO, one_by_one(asyncios(nothing)), loop),
            Side(ANYIO, one_by_one(anyios(nothing)), loop),
            Side(TETHER, one_by_one(tethers(nothing)), loop, bars=(Bar(1.0, ASYNCIO),)),
            Side(
                f"{TETHER}, abandon=True",
                one_by_one(tethers(nothing, abandon=True)),
                loop,
            ),
        ]
        name = "a function that does nothing"
        found.append(
            Case(name if loop == "asyncio" else f"{name}, uvloop", ASYNCIO, sides)
        )
    sides = [
        Side(ASYNCIO, at_once(asyncios(block)), "asyncio", per=AT_ONCE),
        Side(ANYIO, at_once(anyios(block)), "asyncio", per=AT_ONCE),
        Side(
            TETHER,
            at_once(tethers(block)),
            "asyncio",
            per=AT_ONCE,
            bars=(Bar(1.0, ANYIO),),
        ),
    ]
    found.append(Case("fifty at once that block for 2 ms, each", ASYNCIO, sides))
    return found
