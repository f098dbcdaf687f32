"""Canceling a tree: from cancel() on the root, ns per context below it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Run, Side
from tether import Canceled, Scope, background

SIZES = (10, 1_000, 100_000)
FLAT = 1.5  # what a context may cost among 100 000, of what it costs among 1 000
HOOKED_NS = 100.0
PATIENCE = 30.0
LOOK = ", then done() of each"
Hook = Callable[[Scope, "deque[int]"], object]


def by_after_func(scope: Scope, left: deque[int]) -> object:
    return scope.after_func(left.pop)


def by_signal(scope: Scope, left: deque[int]) -> object:
    return scope.done_signal().add_callback(left.pop)


def not_at_all(_: Scope, left: deque[int]) -> object:
    left.clear()
    return None


def drained(left: deque[int]) -> None:
    """Wait until every callback has taken its number."""
    until = time.monotonic() + PATIENCE
    while left:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(left)} callbacks did not run")
        time.sleep(0.0001)


def cancel(
    size: int, hook: Hook, *, to_the_end: bool = False, look: bool = False
) -> Callable[[int], int]:
    """Cancel a root with so many scopes below it; optionally wait or look at each."""

    def run(n: int) -> int:
        spent = 0
        for _ in range(n):
            root = background().with_cancel()
            left = deque(range(size))
            scopes = [root.with_cancel() for _ in range(size)]
            hooks = [hook(scope, left) for scope in scopes]
            start = now()
            root.cancel()
            if look:
                for scope in scopes:
                    scope.done()
            if to_the_end:
                drained(left)
            spent += now() - start
            drained(left)
            del hooks
        return spent

    return run


def one_by_one(size: int) -> Callable[[int], int]:
    """Release the scopes below a root, as a server does with its requests."""

    def run(n: int) -> int:
        spent = 0
        with background().with_cancel() as root:
            for _ in range(n):
                scopes = [root.with_cancel() for _ in range(size)]
                start = now()
                for scope in scopes:
                    scope.cancel()
                spent += now() - start
        return spent

    return run


def tether_tasks(size: int) -> Run:
    """So many tasks, each waiting in a scope of its own below the root."""

    async def wait(root: Scope) -> None:
        try:
            with root.with_cancel():
                await asyncio.get_running_loop().create_future()
        except Canceled:
            pass

    async def run(n: int) -> int:
        spent = 0
        for _ in range(n):
            root = background().with_cancel()
            tasks = [asyncio.create_task(wait(root)) for _ in range(size)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            start = now()
            root.cancel()
            await asyncio.wait(tasks)
            spent += now() - start
        return spent

    return run


def asyncio_tasks(size: int) -> Run:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    async def run(n: int) -> int:
        spent = 0
        for _ in range(n):
            tasks = [asyncio.create_task(wait()) for _ in range(size)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            start = now()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            spent += now() - start
        return spent

    return run


def anyio_tasks(size: int) -> Run:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    async def run(n: int) -> int:
        import anyio

        spent = 0
        for _ in range(n):
            async with anyio.create_task_group() as group:
                for _ in range(size):
                    group.start_soon(wait)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                start = now()
                group.cancel_scope.cancel()
            spent += now() - start
        return spent

    return run


def trio_tasks(size: int) -> Run:
    async def run(n: int) -> int:
        import trio

        spent = 0
        for _ in range(n):
            async with trio.open_nursery() as nursery:
                for _ in range(size):
                    nursery.start_soon(trio.sleep_forever)
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                start = now()
                nursery.cancel_scope.cancel()
            spent += now() - start
        return spent

    return run


def cases(effort: Effort) -> list[Case]:
    """Hooked by callbacks, by tasks, and not hooked; 10, 1 000 and 100 000."""
    sizes = SIZES if effort.large else SIZES[:2]
    return [
        _hooked("each hooked by an after_func", sizes, by_after_func),
        _hooked("each hooked by a callback of its signal", sizes, by_signal),
        _unhooked(sizes),
        *(_waiting(size) for size in (SIZES if effort.large else SIZES[:1])),
    ]


def named(size: int) -> str:
    return f"{size:,}".replace(",", " ")


BASE = named(SIZES[1])


def _hooked(name: str, sizes: tuple[int, ...], hook: Hook) -> Case:
    sides = [
        Side(
            named(size),
            cancel(size, hook),
            per=size,
            bars=(Bar(HOOKED_NS), Bar(FLAT, BASE)) if size == SIZES[2] else (),
        )
        for size in sizes
    ]
    size = sizes[-1]
    run = cancel(size, hook, to_the_end=True)
    sides.append(Side(f"{named(size)}, until all have run", run, per=size))
    return Case(name, BASE, sides)


def _unhooked(sizes: tuple[int, ...]) -> Case:
    sides = [Side(named(size), cancel(size, not_at_all), per=size) for size in sizes]
    for size in sizes[1:]:
        run = cancel(size, not_at_all, look=True)
        bars = (Bar(FLAT, f"{BASE}{LOOK}"),) if size == SIZES[2] else ()
        sides.append(Side(f"{named(size)}{LOOK}", run, per=size, bars=bars))
    sides += [
        Side(f"{named(size)}, one by one", one_by_one(size), per=size)
        for size in sizes[1:]
    ]
    return Case("not hooked at all", f"{BASE}{LOOK}", sides)


def _waiting(size: int) -> Case:
    raw = "task.cancel() of each"
    sides = [
        Side(raw, asyncio_tasks(size), "asyncio", size),
        Side("tether, a scope per task", tether_tasks(size), "asyncio", size),
        Side("anyio task group", anyio_tasks(size), "asyncio", size),
        Side("trio nursery", trio_tasks(size), "trio", size),
    ]
    name = f"{named(size)} waiting tasks, until all have ended"
    return Case(name, raw, sides, n=1 if size == SIZES[2] else 0)
