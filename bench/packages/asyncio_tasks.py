"""asyncio of the standard library: locks, queues, limits of time, many tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from bench.packages._handing import Baton, One, Parcels, woken
from bench.packages._operation import Operation

PACKAGE = "asyncio"


def baton() -> AbstractAsyncContextManager[Baton]:
    return Baton(asyncio.Condition()).at_work()


def parcels(limited: Callable[[Awaitable[int]], Awaitable[int]]) -> Parcels:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    return Parcels(
        queue.put,
        lambda: limited(queue.get()),
        queue.get_nowait,
        asyncio.QueueEmpty,
    )


async def plainly(work: Awaitable[int]) -> int:
    return await work


async def by_wait_for(work: Awaitable[int]) -> int:
    return await asyncio.wait_for(work, 2.0)


async def within_timeout(work: Awaitable[int]) -> int:
    async with asyncio.timeout(2.0):
        return await work


async def barrier() -> None:
    barrier = asyncio.Barrier(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(barrier.wait())
        await asyncio.sleep(1.0)
        group.create_task(barrier.wait())


async def gather() -> None:
    await asyncio.gather(asyncio.sleep(1.0), asyncio.sleep(2.0))


async def task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1.0))
        group.create_task(asyncio.sleep(2.0))


async def wait() -> None:
    tasks = [asyncio.create_task(asyncio.sleep(n)) for n in (1.0, 2.0)]
    await asyncio.wait(tasks)


async def as_completed() -> None:
    for one in asyncio.as_completed([asyncio.sleep(1.0), asyncio.sleep(2.0)]):
        await one


async def to_thread() -> None:
    await asyncio.to_thread(time.sleep, 0.01)


OPERATIONS = [
    Operation("Lock", One.in_turns, lambda: One(asyncio.Lock())),
    Operation("Semaphore", One.in_turns, lambda: One(asyncio.Semaphore())),
    Operation(
        "Condition: one notify, two wait",
        woken,
        baton,
        Baton.one_was_woken,
        shown_by="asyncio_condition",
    ),
    Operation(
        "Queue: put",
        Parcels.send,
        lambda: parcels(plainly).received(),
        Parcels.none_is_lost,
    ),
    Operation(
        "Queue: get",
        Parcels.receive,
        lambda: parcels(plainly).sent_to(),
        Parcels.none_is_lost,
    ),
    Operation(
        "timeout around Queue.get",
        Parcels.receive,
        lambda: parcels(within_timeout).sent_to(),
        Parcels.none_is_lost,
    ),
    Operation(
        "wait_for around Queue.get",
        Parcels.receive,
        lambda: parcels(by_wait_for).sent_to(),
        Parcels.none_is_lost,
        shown_by="asyncio_wait_for",
    ),
    Operation("Barrier", barrier),
    Operation("gather", gather),
    Operation("TaskGroup", task_group),
    Operation("wait", wait, shown_by="asyncio_wait"),
    Operation("as_completed", as_completed, shown_by="asyncio_wait"),
    Operation("to_thread", to_thread),
]
