"""Deriving, entering and leaving a scope in a task, ns per scope."""

# ruff: noqa: ASYNC100  an empty block is what is measured

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Side, Where
from tether import background

HOUR = 3600.0
TURN = 100  # scopes between two turns of the loop, which then drops its dead timers
NESTED = 20  # the same for towers of five
SHRINKING = (HOUR, HOUR / 2, HOUR / 3, HOUR / 4, HOUR / 5)
EQUAL = (HOUR, HOUR, HOUR, HOUR, HOUR)
Loop = Callable[[int], Coroutine[object, None, int]]


async def tether_alone(n: int) -> int:
    ctx = background()
    start = now()
    for _ in range(n):
        for _ in range(TURN):
            with ctx.with_timeout(HOUR):
                pass
        await asyncio.sleep(0)
    return now() - start


async def tether_below(n: int) -> int:
    """The parent can end, as a request can; it is not entered itself."""
    with background().with_cancel() as root:
        request = root.with_timeout(2 * HOUR)
        start = now()
        for _ in range(n):
            for _ in range(TURN):
                with request.with_timeout(HOUR):
                    pass
            await asyncio.sleep(0)
        spent = now() - start
        request.cancel()
    return spent


async def tether_awaiting(n: int) -> int:
    ctx = background()
    start = now()
    for _ in range(n * TURN):
        with ctx.with_timeout(HOUR):
            await asyncio.sleep(0)
    return now() - start


def tether_nested(seconds: tuple[float, ...]) -> Loop:
    t1, t2, t3, t4, t5 = seconds

    async def run(n: int) -> int:
        ctx = background()
        start = now()
        for _ in range(n):
            for _ in range(NESTED):
                with (
                    ctx.with_timeout(t1) as c1,
                    c1.with_timeout(t2) as c2,
                    c2.with_timeout(t3) as c3,
                    c3.with_timeout(t4) as c4,
                    c4.with_timeout(t5),
                ):
                    pass
            await asyncio.sleep(0)
        return now() - start

    return run


async def tether_hold(seconds: float) -> None:
    with background().with_timeout(seconds):
        await asyncio.Event().wait()


async def asyncio_alone(n: int) -> int:
    start = now()
    for _ in range(n):
        for _ in range(TURN):
            async with asyncio.timeout(HOUR):
                pass
        await asyncio.sleep(0)
    return now() - start


async def asyncio_awaiting(n: int) -> int:
    start = now()
    for _ in range(n * TURN):
        async with asyncio.timeout(HOUR):
            await asyncio.sleep(0)
    return now() - start


def asyncio_nested(seconds: tuple[float, ...]) -> Loop:
    t1, t2, t3, t4, t5 = seconds

    async def run(n: int) -> int:
        start = now()
        for _ in range(n):
            for _ in range(NESTED):
                async with (
                    asyncio.timeout(t1),
                    asyncio.timeout(t2),
                    asyncio.timeout(t3),
                    asyncio.timeout(t4),
                    asyncio.timeout(t5),
                ):
                    pass
            await asyncio.sleep(0)
        return now() - start

    return run


async def asyncio_hold(seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asyncio.Event().wait()


async def anyio_alone(n: int) -> int:
    import anyio

    start = now()
    for _ in range(n):
        for _ in range(TURN):
            with anyio.fail_after(HOUR):
                pass
        await asyncio.sleep(0)
    return now() - start


async def anyio_awaiting(n: int) -> int:
    import anyio

    start = now()
    for _ in range(n * TURN):
        with anyio.fail_after(HOUR):
            await asyncio.sleep(0)
    return now() - start


def anyio_nested(seconds: tuple[float, ...]) -> Loop:
    t1, t2, t3, t4, t5 = seconds

    async def run(n: int) -> int:
        import anyio

        start = now()
        for _ in range(n):
            for _ in range(NESTED):
                with (
                    anyio.fail_after(t1),
                    anyio.fail_after(t2),
                    anyio.fail_after(t3),
                    anyio.fail_after(t4),
                    anyio.fail_after(t5),
                ):
                    pass
            await asyncio.sleep(0)
        return now() - start

    return run


async def anyio_hold(seconds: float) -> None:
    import anyio

    with anyio.fail_after(seconds):
        await asyncio.Event().wait()


async def trio_alone(n: int) -> int:
    import trio

    start = now()
    for _ in range(n):
        for _ in range(TURN):
            with trio.fail_after(HOUR):
                pass
        await trio.lowlevel.checkpoint()
    return now() - start


def beside(run: Loop, hold: Callable[[float], Awaitable[None]], seconds: float) -> Loop:
    """The same, while another task waits in a scope of so many seconds."""

    async def both(n: int) -> int:
        other = asyncio.ensure_future(hold(seconds))
        await asyncio.sleep(0)
        try:
            return await run(n)
        finally:
            other.cancel()
            await asyncio.wait([other])

    return both


def cases(_: Effort) -> list[Case]:
    """Alone, below a request, with an await, five deep, beside others; both loops."""
    found: list[Case] = []
    for on in ("asyncio", "uvloop"):
        found += _on(on)
    alone = found[0]
    trio = Side("trio.fail_after", trio_alone, "trio", TURN)
    found[0] = Case(alone.name, alone.base, [*alone.sides, trio])
    return found


def _on(on: Where) -> list[Case]:
    deep = (tether_nested, asyncio_nested, anyio_nested)
    shrinking = [make(SHRINKING) for make in deep]
    equal = [make(EQUAL) for make in deep]
    alone = (tether_alone, asyncio_alone, anyio_alone)
    below = (tether_below, asyncio_alone, anyio_alone)
    awaiting = (tether_awaiting, asyncio_awaiting, anyio_awaiting)
    holds = (tether_hold, asyncio_hold, anyio_hold)
    pairs = list(zip(alone, holds, strict=True))
    nearest = [beside(run, hold, HOUR * 2) for run, hold in pairs]
    farther = [beside(run, hold, HOUR / 2) for run, hold in pairs]
    limit = 0.40 if on == "asyncio" else 0.45
    bars = (Bar(limit, "asyncio.timeout"), Bar(0.20, "anyio.fail_after"))
    nested = (Bar(0.45, "asyncio.timeout"), Bar(0.20, "anyio.fail_after"))

    def case(name: str, runs: Sequence[Loop], per: int, *bars: Bar) -> Case:
        ours, plain, other = runs
        sides = [
            Side("asyncio.timeout", plain, on, per),
            Side("tether", ours, on, per, bars),
            Side("anyio.fail_after", other, on, per),
        ]
        return Case(f"{name} ({on})", "asyncio.timeout", sides)

    return [
        case("alone", alone, TURN, *bars),
        case("below a request that can end", below, TURN, *bars),
        case("with one await inside", awaiting, TURN),
        case("five deep, each nearer", shrinking, NESTED * 5, *nested),
        case("five deep, none nearer than the first", equal, NESTED * 5, *nested),
        case("nearest deadline of the loop", nearest, TURN, *bars),
        case("a nearer deadline waits elsewhere", farther, TURN, *bars),
    ]
