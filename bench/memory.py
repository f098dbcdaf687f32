"""Memory of one live context, by tracemalloc, bytes each."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Self

from bench._measure import Bar, Case, Effort, Run, Side
from bench.scopes import HOUR, Loop
from tether import Scope, background

LIVE = 5_000
MOST = 200.0
Body = Callable[[asyncio.Event], Awaitable[None]]


class Meter:
    """Counts the bytes that are allocated while it is entered, and not freed."""

    def __enter__(self) -> Self:
        gc.collect()
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        self.taken = 0
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        self.taken = after - self._before


def derived(make: Callable[[Scope], Scope], *, hook: bool = False) -> Run:
    """Contexts below one request, nothing waiting on them (or an after_func each)."""

    def run(n: int) -> int:
        with background().with_cancel() as root:
            kept: list[Scope | None] = [None] * n
            stops: list[object] = [None] * n
            with Meter() as meter:
                for index in range(n):
                    scope = make(root)
                    kept[index] = scope
                    if hook:
                        stops[index] = scope.after_func(gc.collect)
            for stop in stops:
                if callable(stop):
                    stop()
            for left in kept:
                if left is not None:
                    left.cancel()
        return meter.taken

    return run


def chained(n: int) -> int:
    """Each context below the one before it."""
    made = [background().with_cancel()] * (n + 1)
    budgets = [HOUR - index for index in range(n)]  # floats of the user's, not ours
    with Meter() as meter:
        for index in range(n):
            made[index + 1] = made[index].with_timeout(budgets[index])
    for scope in reversed(made):
        scope.cancel()
    return meter.taken


async def in_tasks(n: int, body: Body) -> int:
    """So many tasks that run a body until they are told to end."""
    over = asyncio.Event()
    tasks: list[asyncio.Future[None] | None] = [None] * n
    with Meter() as meter:
        for index in range(n):
            tasks[index] = asyncio.ensure_future(body(over))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    over.set()
    await asyncio.gather(*(task for task in tasks if task is not None))
    return meter.taken


async def nothing(over: asyncio.Event) -> None:
    await over.wait()


def inside(make: Callable[[], AbstractContextManager[object]]) -> Body:
    async def body(over: asyncio.Event) -> None:
        with make():
            await over.wait()

    return body


def inside_async(make: Callable[[], AbstractAsyncContextManager[object]]) -> Body:
    async def body(over: asyncio.Event) -> None:
        async with make():
            await over.wait()

    return body


def entered(make: Callable[[], Body]) -> Loop:
    """A scope entered in a task of its own, less what the bare task takes."""

    async def run(n: int) -> int:
        body = make()
        await in_tasks(2, body)  # imports and caches are not counted
        bare = await in_tasks(n, nothing)
        return await in_tasks(n, body) - bare

    return run


def anyio_fail_after() -> Body:
    import anyio

    return inside(lambda: anyio.fail_after(HOUR))


async def tether_below(n: int) -> int:
    with background().with_cancel() as root:
        return await entered(lambda: inside(lambda: root.with_timeout(HOUR)))(n)


def cases(effort: Effort) -> list[Case]:
    """Contexts that nobody waits on, and scopes that a task has entered."""
    bar = (Bar(MOST),)
    timeout = derived(lambda root: root.with_timeout(HOUR))
    hooked = derived(lambda root: root.with_timeout(HOUR), hook=True)
    alone = [
        Side("with_cancel", derived(lambda root: root.with_cancel()), bars=bar),
        Side("with_timeout", timeout, bars=bar),
        Side("with_timeout, in a chain", chained, bars=bar),
        Side("with_timeout and an after_func", hooked),
    ]
    plain = entered(lambda: inside_async(lambda: asyncio.timeout(HOUR)))
    ours = entered(lambda: inside(lambda: background().with_timeout(HOUR)))
    tasks = [
        Side("asyncio.timeout", plain, "asyncio"),
        Side("tether, with_timeout", ours, "asyncio"),
        Side("tether, below a request", tether_below, "asyncio"),
        Side("anyio.fail_after", entered(anyio_fail_after), "asyncio"),
    ]
    live = LIVE if effort.large else 200
    return [
        Case("nobody waits", "with_timeout", alone, unit="bytes", n=live),
        Case("entered in a task", "asyncio.timeout", tasks, unit="bytes", n=live),
    ]
