"""From cancel() to the waiter running again, ns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter_ns as now
from typing import Self

from bench._measure import Bar, Case, Effort, Side, Where
from tether import Canceled, Scope, background

PAUSE = 0.0002  # long enough for the waiter to sleep in its selector or its lock
HANG = 3.0
RAW_THREAD = "call_soon_threadsafe(task.cancel)"


class Trigger:
    """A second thread that calls what it is given, a moment later."""

    def __init__(self) -> None:
        self.fired = 0
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        self._thread.join()

    def pull(self, job: Callable[[], object]) -> None:
        """Have the job called soon; `fired` is the instant just before."""
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            time.sleep(PAUSE)
            self.fired = now()
            job()


async def parked(woken: list[int]) -> None:
    """Wait for ever; note when the cancellation arrives."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        woken.append(now())
        raise


async def parked_in(scope: Scope, woken: list[int]) -> None:
    try:
        with scope:
            await parked(woken)
    except Canceled:
        pass


async def settled(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task], timeout=HANG)
    if not task.done():
        raise TimeoutError("the waiter was never woken")


async def same_asyncio(n: int) -> list[int]:
    samples: list[int] = []
    for _ in range(n):
        woken: list[int] = []
        task = asyncio.ensure_future(parked(woken))
        await asyncio.sleep(0)
        start = now()
        task.cancel()
        await settled(task)
        samples.append(woken[0] - start)
    return samples


async def same_tether(n: int) -> list[int]:
    samples: list[int] = []
    for _ in range(n):
        woken: list[int] = []
        scope = background().with_cancel()
        task = asyncio.ensure_future(parked_in(scope, woken))
        await asyncio.sleep(0)
        start = now()
        scope.cancel()
        await settled(task)
        samples.append(woken[0] - start)
    return samples


async def same_wait_async(n: int) -> list[int]:
    samples: list[int] = []

    async def wait(scope: Scope, woken: list[int]) -> None:
        await scope.wait_async()
        woken.append(now())

    for _ in range(n):
        woken: list[int] = []
        scope = background().with_cancel()
        task = asyncio.ensure_future(wait(scope, woken))
        await asyncio.sleep(0)
        start = now()
        scope.cancel()
        await settled(task)
        samples.append(woken[0] - start)
    return samples


async def same_anyio(n: int) -> list[int]:
    import anyio

    samples: list[int] = []

    async def wait(scope: anyio.CancelScope, woken: list[int]) -> None:
        with scope:
            await parked(woken)

    for _ in range(n):
        woken: list[int] = []
        scope = anyio.CancelScope()
        task = asyncio.ensure_future(wait(scope, woken))
        await asyncio.sleep(0)
        start = now()
        scope.cancel()
        await settled(task)
        samples.append(woken[0] - start)
    return samples


async def same_trio(n: int) -> list[int]:
    import trio

    samples: list[int] = []

    async def wait(scope: trio.CancelScope, woken: list[int]) -> None:
        with scope:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                woken.append(now())
                raise

    for _ in range(n):
        woken: list[int] = []
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, scope, woken)
            await trio.lowlevel.checkpoint()
            start = now()
            scope.cancel()
        samples.append(woken[0] - start)
    return samples


async def loop_asyncio(n: int) -> list[int]:
    loop = asyncio.get_running_loop()
    samples: list[int] = []
    with Trigger() as trigger:
        for _ in range(n):
            woken: list[int] = []
            task = asyncio.ensure_future(parked(woken))
            await asyncio.sleep(0)
            cancel = task.cancel
            trigger.pull(lambda cancel=cancel: loop.call_soon_threadsafe(cancel))  # type: ignore[misc]
            await settled(task)
            samples.append(woken[0] - trigger.fired)
    return samples


async def loop_tether(n: int) -> list[int]:
    samples: list[int] = []
    with Trigger() as trigger:
        for _ in range(n):
            woken: list[int] = []
            scope = background().with_cancel()
            task = asyncio.ensure_future(parked_in(scope, woken))
            await asyncio.sleep(0)
            trigger.pull(scope.cancel)
            await settled(task)
            samples.append(woken[0] - trigger.fired)
    return samples


async def loop_anyio(n: int) -> list[int]:
    import anyio
    from anyio.from_thread import run_sync
    from anyio.lowlevel import current_token

    token = current_token()
    samples: list[int] = []

    async def wait(scope: anyio.CancelScope, woken: list[int]) -> None:
        with scope:
            await parked(woken)

    def canceler(scope: anyio.CancelScope) -> Callable[[], object]:
        return lambda: run_sync(scope.cancel, token=token)

    with Trigger() as trigger:
        for _ in range(n):
            woken: list[int] = []
            scope = anyio.CancelScope()
            task = asyncio.ensure_future(wait(scope, woken))
            await asyncio.sleep(0)
            trigger.pull(canceler(scope))
            await settled(task)
            samples.append(woken[0] - trigger.fired)
    return samples


def thread_event(n: int) -> list[int]:
    samples: list[int] = []
    with Trigger() as trigger:
        for _ in range(n):
            event = threading.Event()
            trigger.pull(event.set)
            if not event.wait(HANG):
                raise TimeoutError("the waiter was never woken")
            samples.append(now() - trigger.fired)
    return samples


def thread_tether(n: int) -> list[int]:
    samples: list[int] = []
    with Trigger() as trigger:
        for _ in range(n):
            scope = background().with_cancel()
            trigger.pull(scope.cancel)
            if not scope.wait(HANG):
                raise TimeoutError("the waiter was never woken")
            samples.append(now() - trigger.fired)
    return samples


def cases(_: Effort) -> list[Case]:
    """Within one loop, from a thread to a loop, from a thread to a thread."""
    same = [
        Side("task.cancel()", same_asyncio, "asyncio"),
        Side("tether", same_tether, "asyncio"),
        Side("tether, wait_async()", same_wait_async, "asyncio"),
        Side("anyio", same_anyio, "asyncio"),
        Side("trio", same_trio, "trio"),
    ]
    threads = [
        Side("threading.Event", thread_event),
        Side("tether, wait()", thread_tether),
    ]
    return [
        Case("within one loop", "task.cancel()", same),
        _to_loop("asyncio"),
        _to_loop("uvloop"),
        Case("from a thread to a thread", "threading.Event", threads),
    ]


def _to_loop(on: Where) -> Case:
    sides = [
        Side(RAW_THREAD, loop_asyncio, on),
        Side("tether", loop_tether, on, bars=(Bar(1.2, RAW_THREAD),)),
        Side("anyio", loop_anyio, on),
    ]
    return Case(f"from a thread to a loop ({on})", RAW_THREAD, sides)
