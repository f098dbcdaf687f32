"""Semaphores and queues, ns per acquire and release, and per item."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from time import perf_counter_ns as now

from bench._measure import Case, Effort, Side, Where
from tether import Context, Queue, Semaphore, background

HOUR = 3600.0
TASKS = 10  # for one semaphore of 2
TURN = 100  # operations between two turns of the loop
ASYNCIO = "asyncio"
BOUNDED = "asyncio, each wait under asyncio.timeout"
Loop = Callable[[int], Coroutine[object, None, int]]
Thread = Callable[[int], int]


def in_request(run: Callable[[Context, int], Coroutine[object, None, int]]) -> Loop:
    """As in a service: under a context with a deadline, below one that can end."""

    async def within(n: int) -> int:
        with background().with_cancel() as server, server.with_timeout(HOUR) as request:
            return await run(request, n)

    return within


def in_request_of_a_thread(run: Callable[[Context, int], int]) -> Thread:
    def within(n: int) -> int:
        with background().with_cancel() as server, server.with_timeout(HOUR) as request:
            return run(request, n)

    return within


# -- a semaphore that has room -------------------------------------------------


def room_tether_thread(ctx: Context, n: int) -> int:
    semaphore = Semaphore(2)
    start = now()
    for _ in range(n):
        semaphore.acquire(ctx)
        semaphore.release()
    return now() - start


def room_held_thread(ctx: Context, n: int) -> int:
    semaphore = Semaphore(2)
    start = now()
    for _ in range(n):
        with semaphore.held(ctx):
            pass
    return now() - start


def room_threading(n: int) -> int:
    semaphore = threading.Semaphore(2)
    start = now()
    for _ in range(n):
        semaphore.acquire()
        semaphore.release()
    return now() - start


async def room_tether(ctx: Context, n: int) -> int:
    semaphore = Semaphore(2)
    start = now()
    for _ in range(n):
        await semaphore.acquire_async(ctx)
        semaphore.release()
    return now() - start


async def room_asyncio(n: int) -> int:
    semaphore = asyncio.Semaphore(2)
    start = now()
    for _ in range(n):
        await semaphore.acquire()
        semaphore.release()
    return now() - start


async def room_bounded(n: int) -> int:
    semaphore = asyncio.Semaphore(2)
    start = now()
    for number in range(n):
        async with asyncio.timeout(HOUR):
            await semaphore.acquire()
        semaphore.release()
        if number % TURN == 0:
            await asyncio.sleep(0)
    return now() - start


# -- ten tasks for one of 2 -----------------------------------------------------


async def wanted_tether(ctx: Context, n: int) -> int:
    semaphore = Semaphore(2)

    async def work() -> None:
        for _ in range(n):
            async with semaphore.held(ctx):
                await asyncio.sleep(0)

    start = now()
    await asyncio.gather(*[work() for _ in range(TASKS)])
    return now() - start


async def wanted_asyncio(n: int) -> int:
    semaphore = asyncio.Semaphore(2)

    async def work() -> None:
        for _ in range(n):
            async with semaphore:
                await asyncio.sleep(0)

    start = now()
    await asyncio.gather(*[work() for _ in range(TASKS)])
    return now() - start


async def wanted_bounded(n: int) -> int:
    semaphore = asyncio.Semaphore(2)

    async def work() -> None:
        for _ in range(n):
            async with asyncio.timeout(HOUR):
                await semaphore.acquire()
            await asyncio.sleep(0)
            semaphore.release()

    start = now()
    await asyncio.gather(*[work() for _ in range(TASKS)])
    return now() - start


# -- a queue, one side ---------------------------------------------------------


def through_tether_thread(ctx: Context, n: int) -> int:
    items: Queue[int] = Queue()
    start = now()
    for number in range(n):
        items.put(ctx, number)
        items.get(ctx)
    return now() - start


def through_queue(n: int) -> int:
    items: queue.Queue[int] = queue.Queue()
    start = now()
    for number in range(n):
        items.put(number)
        items.get()
    return now() - start


async def through_tether(ctx: Context, n: int) -> int:
    items: Queue[int] = Queue()
    start = now()
    for number in range(n):
        await items.put_async(ctx, number)
        await items.get_async(ctx)
    return now() - start


async def through_asyncio(n: int) -> int:
    items: asyncio.Queue[int] = asyncio.Queue()
    start = now()
    for number in range(n):
        await items.put(number)
        await items.get()
    return now() - start


# -- ping-pong: every get waits ------------------------------------------------


async def pong_tether(ctx: Context, n: int) -> int:
    there: Queue[int] = Queue(1)
    back: Queue[int] = Queue(1)

    async def echo() -> None:
        async for item in there.each(ctx):
            await back.put_async(ctx, item)

    echoing = asyncio.ensure_future(echo())
    start = now()
    for number in range(n):
        await there.put_async(ctx, number)
        await back.get_async(ctx)
    spent = now() - start
    there.close()
    await echoing
    return spent


async def pong_asyncio(n: int) -> int:
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def echo() -> None:
        for _ in range(n):
            await back.put(await there.get())

    echoing = asyncio.ensure_future(echo())
    start = now()
    for number in range(n):
        await there.put(number)
        await back.get()
    spent = now() - start
    await echoing
    return spent


async def pong_bounded(n: int) -> int:
    there: asyncio.Queue[int] = asyncio.Queue(1)
    back: asyncio.Queue[int] = asyncio.Queue(1)

    async def echo() -> None:
        for _ in range(n):
            async with asyncio.timeout(HOUR):
                item = await there.get()
            async with asyncio.timeout(HOUR):
                await back.put(item)

    echoing = asyncio.ensure_future(echo())
    start = now()
    for number in range(n):
        async with asyncio.timeout(HOUR):
            await there.put(number)
        async with asyncio.timeout(HOUR):
            await back.get()
    spent = now() - start
    await echoing
    return spent


def pong_threads(ctx: Context, n: int) -> int:
    there: Queue[int] = Queue(1)
    back: Queue[int] = Queue(1)

    def echo() -> None:
        for item in there.each(ctx):
            back.put(ctx, item)

    echoing = threading.Thread(target=echo, daemon=True)
    echoing.start()
    start = now()
    for number in range(n):
        there.put(ctx, number)
        back.get(ctx)
    spent = now() - start
    there.close()
    echoing.join()
    return spent


def pong_queue(n: int) -> int:
    there: queue.Queue[int] = queue.Queue(1)
    back: queue.Queue[int] = queue.Queue(1)

    def echo() -> None:
        for _ in range(n):
            back.put(there.get())

    echoing = threading.Thread(target=echo, daemon=True)
    echoing.start()
    start = now()
    for number in range(n):
        there.put(number)
        back.get()
    spent = now() - start
    echoing.join()
    return spent


def cases(_: Effort) -> list[Case]:
    """In threads, on asyncio and on uvloop; with room, and where all wait."""
    in_thread = in_request_of_a_thread
    return [
        Case(
            "acquire and release with room, in a thread",
            "threading.Semaphore",
            [
                Side("threading.Semaphore", room_threading),
                Side("tether", in_thread(room_tether_thread)),
                Side("tether, held()", in_thread(room_held_thread)),
            ],
        ),
        _room("asyncio"),
        _wanted("asyncio"),
        _wanted("uvloop"),
        Case(
            "put and get, in a thread",
            "queue.Queue",
            [
                Side("queue.Queue", through_queue),
                Side("tether", in_thread(through_tether_thread)),
            ],
        ),
        Case(
            "put and get, in a task",
            ASYNCIO,
            [
                Side(ASYNCIO, through_asyncio, "asyncio"),
                Side("tether", in_request(through_tether), "asyncio"),
            ],
        ),
        _pong("asyncio"),
        _pong("uvloop"),
        Case(
            "ping-pong of two threads",
            "queue.Queue",
            [
                Side("queue.Queue", pong_queue),
                Side("tether", in_thread(pong_threads)),
            ],
        ),
    ]


def _room(on: Where) -> Case:
    sides = [
        Side(ASYNCIO, room_asyncio, on),
        Side(BOUNDED, room_bounded, on),
        Side("tether", in_request(room_tether), on),
    ]
    return Case("acquire and release with room, in a task", ASYNCIO, sides)


def _wanted(on: Where) -> Case:
    sides = [
        Side(ASYNCIO, wanted_asyncio, on, TASKS),
        Side(BOUNDED, wanted_bounded, on, TASKS),
        Side("tether", in_request(wanted_tether), on, TASKS),
    ]
    return Case(f"ten tasks want two places ({on})", ASYNCIO, sides)


def _pong(on: Where) -> Case:
    sides = [
        Side(ASYNCIO, pong_asyncio, on),
        Side(BOUNDED, pong_bounded, on),
        Side("tether", in_request(pong_tether), on),
    ]
    return Case(f"ping-pong of two tasks ({on})", ASYNCIO, sides)
