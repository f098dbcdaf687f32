"""The chain of awaits: whole, and of suspended coroutines only."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import coroutine
from typing import Any

import pytest

from tether import _where
from tether._awaits import coro_of, frames, links
from tether._tree import GIL


async def innermost() -> None:
    await asyncio.get_running_loop().create_future()


async def numbers() -> AsyncIterator[int]:
    await innermost()
    yield 1


@coroutine
def by_hand() -> Generator[Any, Any, None]:
    yield from innermost().__await__()


async def through_a_generator() -> None:
    async for _ in numbers():
        pass


async def through_anext() -> None:
    await anext(numbers(), None)


async def through_one_by_hand() -> None:
    await by_hand()


def names(coro: object) -> list[str]:
    return [frame.f_code.co_name for frame in frames(coro)]


@pytest.mark.parametrize(
    ("main", "chain"),
    [
        (through_a_generator, ["through_a_generator", "numbers", "innermost"]),
        (through_anext, ["through_anext", "numbers", "innermost"]),
        (through_one_by_hand, ["through_one_by_hand", "by_hand", "innermost"]),
    ],
)
def test_it_goes_through_whatever_stands_in_between(
    main: Callable[[], Coroutine[Any, Any, None]], chain: list[str]
) -> None:
    async def look() -> list[str]:
        task = asyncio.create_task(main())
        await asyncio.sleep(0)
        found = names(task.get_coro())
        task.cancel()
        await asyncio.wait({task})
        return found

    assert asyncio.run(look()) == chain


def test_one_that_runs_is_not_asked_what_it_awaits() -> None:
    seen: list[list[str]] = []

    async def inner() -> None:
        seen.append(names(outermost[0]))

    async def outer() -> None:
        await inner()

    outermost = [outer()]
    asyncio.run(outermost[0])
    assert seen == [["outer"]]


def test_one_that_has_ended_has_no_frames() -> None:
    async def over() -> None: ...

    coro = over()
    asyncio.run(coro)
    assert names(coro) == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks")
def test_a_task_that_has_ended_in_its_eager_start_has_none() -> None:
    async def over() -> int:
        return 1

    async def look() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        task = asyncio.create_task(over(), name="eager")
        assert task.done()
        # get_coro() would end the process here, up to 3.12.4.
        assert coro_of(task) is None
        assert _where.task(task) == "task eager: it has ended"

    asyncio.run(look())


def test_a_chain_without_end_is_cut_off() -> None:
    async def deep(n: int) -> None:
        await (deep(n - 1) if n else innermost())

    async def look() -> int:
        task = asyncio.create_task(deep(300))
        await asyncio.sleep(0)
        count = len(links(task.get_coro(), 50))
        task.cancel()
        await asyncio.wait({task})
        return count

    assert asyncio.run(look()) == 50


@pytest.mark.skipif(not GIL, reason="only the loop's own thread may ask there")
def test_another_thread_may_ask_while_the_tasks_go_on() -> None:
    tasks: list[asyncio.Task[None]] = []
    over = threading.Event()
    looks = 0

    async def busy() -> None:
        async def step(n: int) -> None:
            if n:
                await step(n - 1)
            await asyncio.sleep(0)

        while looks < 500 and thread.is_alive():
            await step(5)

    def ask() -> None:
        nonlocal looks
        while not over.is_set():
            for task in tasks:
                assert {*names(task.get_coro())} <= {
                    "busy",
                    "step",
                    "sleep",
                    "__sleep0",
                }
                looks += 1

    async def main() -> None:
        tasks.extend(asyncio.create_task(busy()) for _ in range(20))
        await asyncio.wait(tasks)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        asyncio.run(main())
    finally:
        over.set()
        thread.join()
    assert looks >= 500
