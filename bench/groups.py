"""Groups: ten children, and detached work, ns per child."""

# ruff: noqa: ASYNC110  it is the turns of the loop that are measured

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Side, Where
from tether import Context, Group, WaitGroup, background

TEN = 10
TURN = 50  # detached pieces between two turns of the loop
LIMIT = 256
Loop = Callable[[int], Coroutine[object, None, int]]


async def nothing() -> None:
    pass


async def once() -> None:
    await asyncio.sleep(0)


async def nothing_with(_: Context) -> None:
    pass


async def once_with(_: Context) -> None:
    await asyncio.sleep(0)


def nothing_in_a_thread() -> None:
    pass


def nothing_in_a_thread_with(_: Context) -> None:
    pass


# -- ten children ----------------------------------------------------------------


def tether_group(fn: Callable[[Context], Coroutine[object, None, None]]) -> Loop:
    async def run(n: int) -> int:
        ctx = background()
        start = now()
        for _ in range(n):
            async with Group(ctx) as group:
                for _ in range(TEN):
                    group.go(fn)
        return now() - start

    return run


def asyncio_group(fn: Callable[[], Coroutine[object, None, None]]) -> Loop:
    async def run(n: int) -> int:
        start = now()
        for _ in range(n):
            async with asyncio.TaskGroup() as group:
                for _ in range(TEN):
                    group.create_task(fn())
        return now() - start

    return run


def anyio_group(fn: Callable[[], Coroutine[object, None, None]]) -> Loop:
    async def run(n: int) -> int:
        import anyio

        start = now()
        for _ in range(n):
            async with anyio.create_task_group() as group:
                for _ in range(TEN):
                    group.start_soon(fn)
        return now() - start

    return run


async def trio_group(n: int) -> int:
    import trio

    start = now()
    for _ in range(n):
        async with trio.open_nursery() as nursery:
            for _ in range(TEN):
                nursery.start_soon(nothing)
    return now() - start


# -- ten threads -----------------------------------------------------------------


def tether_threads(n: int) -> int:
    ctx = background()
    start = now()
    for _ in range(n):
        with Group(ctx) as group:
            for _ in range(TEN):
                group.go(nothing_in_a_thread_with)
    return now() - start


def plain_threads(n: int) -> int:
    start = now()
    for _ in range(n):
        threads = [threading.Thread(target=nothing_in_a_thread) for _ in range(TEN)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return now() - start


def pool_of_threads(n: int) -> int:
    start = now()
    for _ in range(n):
        with ThreadPoolExecutor(TEN) as pool:
            for _ in range(TEN):
                pool.submit(nothing_in_a_thread)
    return now() - start


# -- detached work -----------------------------------------------------------------


async def tether_detached(n: int) -> int:
    detached = WaitGroup(background(), limit=LIMIT)
    with background().with_timeout(3600.0) as request:
        start = now()
        for _ in range(n):
            for _ in range(TURN):
                detached.go_with(request, once_with)
            await detached.wait_async()
        return now() - start


async def tether_detached_timed(n: int) -> int:
    detached = WaitGroup(background(), limit=LIMIT, timeout=10.0)
    with background().with_timeout(3600.0) as request:
        start = now()
        for _ in range(n):
            for _ in range(TURN):
                detached.go_with(request, once_with)
            await detached.wait_async()
        return now() - start


async def tether_shed(n: int) -> int:
    detached = WaitGroup(background(), limit=0)
    ctx = background()
    start = now()
    for _ in range(n * TURN):
        detached.try_go_with(ctx, once_with)
    return now() - start


async def recipe(n: int) -> int:
    """The recipe of asyncio's documentation: a set, so that tasks are not collected."""
    tasks: set[asyncio.Task[None]] = set()
    start = now()
    for _ in range(n):
        for _ in range(TURN):
            task = asyncio.create_task(once())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.sleep(0)
    return now() - start


async def recipe_timed(n: int) -> int:
    """The same, each with a time of its own."""

    async def timed() -> None:
        async with asyncio.timeout(10.0):
            await once()

    tasks: set[asyncio.Task[None]] = set()
    start = now()
    for _ in range(n):
        for _ in range(TURN):
            task = asyncio.create_task(timed())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.sleep(0)
    return now() - start


def cases(_: Effort) -> list[Case]:
    """Ten children on both loops and in threads, and detached pieces."""
    found: list[Case] = []
    for on in ("asyncio", "uvloop"):
        found += _on(on)
    first = found[0]
    trio = Side("trio.open_nursery", trio_group, "trio", TEN)
    found[0] = Case(first.name, first.base, [*first.sides, trio])
    threads = [
        Side("threading.Thread", plain_threads, per=TEN),
        Side("tether", tether_threads, per=TEN),
        Side("ThreadPoolExecutor", pool_of_threads, per=TEN),
    ]
    found.append(Case("ten threads", "threading.Thread", threads))
    plain = [
        Side("create_task and a set", recipe, "asyncio", TURN),
        Side("tether go_with", tether_detached, "asyncio", TURN),
        Side("tether try_go_with, shed", tether_shed, "asyncio", TURN),
    ]
    found.append(Case("detached pieces", "create_task and a set", plain))
    timed = [
        Side("create_task, a set, timeout", recipe_timed, "asyncio", TURN),
        Side("tether go_with, timeout", tether_detached_timed, "asyncio", TURN),
    ]
    found.append(Case("detached pieces, timed", "create_task, a set, timeout", timed))
    return found


def _on(on: Where) -> list[Case]:
    def case(
        name: str,
        with_ctx: Callable[[Context], Coroutine[object, None, None]],
        plain: Callable[[], Coroutine[object, None, None]],
    ) -> Case:
        sides = [
            Side("asyncio.TaskGroup", asyncio_group(plain), on, TEN),
            Side("tether", tether_group(with_ctx), on, TEN, bars),
            Side("anyio task group", anyio_group(plain), on, TEN),
        ]
        return Case(f"{name} ({on})", "asyncio.TaskGroup", sides)

    bars = (Bar(1.0, "asyncio.TaskGroup"), Bar(0.4, "anyio task group"))
    return [
        case("ten trivial children", nothing_with, nothing),
        case("ten children that wait once", once_with, once),
    ]
