"""Queue: nothing is lost, doubled or overtaken; every wait ends with its context."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from queue import Empty, Full

import pytest

from tests.core.sides import Play, Side
from tests.core.support import LONG, Own, start
from tests.loops import Run
from tether import Canceled, Closed, DeadlineExceeded, Queue, background
from tether.testing import VirtualClock

BG = background()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def left(queue: Queue[int]) -> Iterator[int]:
    """What can be got now."""
    while True:
        try:
            yield queue.get_nowait()
        except (Empty, Closed):
            return


# -- in threads and in tasks ---------------------------------------------------


def test_first_in_first_out(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue()
        for item in range(5):
            assert (await side.call(queue, "put", BG, item)).done()
        got = [await side.call(queue, "get", BG) for _ in range(5)]
        assert [one.result() for one in got] == [0, 1, 2, 3, 4]
        assert queue.qsize() == 0

    play(test)


def test_who_waits_for_an_item_gets_one_first_come_first_served(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue()
        waiting = [await side.call(queue, "get", BG) for _ in range(3)]
        for item in range(2):
            queue.put_nowait(item)
            with pytest.raises(Empty):
                queue.get_nowait()
            await side.settle()
        assert [one.done() for one in waiting] == [True, True, False]
        assert [one.result() for one in waiting[:2]] == [0, 1]
        queue.put_nowait(2)
        await side.settle()
        assert waiting[2].result() == 2

    play(test)


def test_who_waits_for_a_place_gets_it_first_come_first_served(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue(2)
        waiting = [await side.call(queue, "put", BG, item) for item in range(5)]
        assert [one.done() for one in waiting] == [True, True, False, False, False]
        for item in range(3):
            with pytest.raises(Full):
                queue.put_nowait(99)
            assert queue.get_nowait() == item
            await side.settle()
            assert queue.qsize() == 2
            assert [one.done() for one in waiting] == [
                *[True] * (item + 3),
                *[False] * (2 - item),
            ]
        assert [*left(queue)] == [3, 4]

    play(test)


def test_a_wait_ends_with_its_context_alone(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue(1)
        scope = BG.with_cancel()
        first = await side.call(queue, "get", BG.with_timeout(5.0))
        second = await side.call(queue, "get", scope)
        third = await side.call(queue, "get", BG)
        scope.cancel()
        await side.settle()
        assert isinstance(second.exception(), Canceled)
        await side.advance(5.0)
        assert isinstance(first.exception(), DeadlineExceeded)
        queue.put_nowait(1)
        await side.settle()
        assert third.result() == 1
        queue.put_nowait(2)
        late = await side.call(queue, "put", BG.with_timeout(1.0), 3)
        await side.advance(1.0)
        assert isinstance(late.exception(), DeadlineExceeded)
        assert [*left(queue)] == [2]

    play(test)


def test_under_a_context_that_is_over_nothing_moves(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue(2)
        queue.put_nowait(1)
        over = BG.with_cancel()
        over.cancel()
        assert isinstance((await side.call(queue, "get", over)).exception(), Canceled)
        put = await side.call(queue, "put", over, 2)
        assert isinstance(put.exception(), Canceled)
        assert [*left(queue)] == [1]

    play(test)


@pytest.mark.parametrize("first", ["end", "put"])
def test_a_cancel_in_the_moment_of_a_put_loses_nothing(play: Play, first: str) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue()
        got: list[int] = []
        for item in range(20):
            scope = BG.with_cancel()
            getter = await side.call(queue, "get", scope)
            if first == "end":
                scope.cancel()
            queue.put_nowait(item)
            if first == "put":
                scope.cancel()
            await side.settle()
            if getter.exception() is None:
                got.append(getter.result())
            else:
                assert [*left(queue)] == [item]
                got.append(item)
        assert got == [*range(20)]

    play(test)


def test_an_item_that_its_getter_could_not_take_is_not_overtaken(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue()
        scope = BG.with_cancel()
        first = await side.call(queue, "get", scope)
        others = [await side.call(queue, "get", BG) for _ in range(2)]
        scope.cancel()
        for item in range(2):
            queue.put_nowait(item)
        await side.settle()
        assert isinstance(first.exception(), Canceled)
        assert sorted(one.result() for one in others) == [0, 1]

    play(test)


# -- closing -------------------------------------------------------------------


def test_close_ends_those_who_wait(play: Play) -> None:
    async def test(side: Side) -> None:
        empty: Queue[int] = Queue()
        getters = [await side.call(empty, "get", BG) for _ in range(2)]
        empty.close()
        empty.close()
        full: Queue[int] = Queue(1)
        full.put_nowait(1)
        putters = [await side.call(full, "put", BG, 2) for _ in range(2)]
        full.close()
        await side.settle()
        assert [type(one.exception()) for one in getters] == [Closed] * 2
        assert [type(one.exception()) for one in putters] == [Closed] * 2
        assert full.closed()
        assert full.qsize() == 1

    play(test)


def test_what_was_put_before_the_close_can_be_got(play: Play) -> None:
    async def test(side: Side) -> None:
        queue: Queue[int] = Queue(3)
        for item in range(3):
            queue.put_nowait(item)
        queue.close()
        put = await side.call(queue, "put", BG, 9)
        assert isinstance(put.exception(), Closed)
        with pytest.raises(Closed):
            queue.put_nowait(9)
        got = [await side.call(queue, "get", BG) for _ in range(4)]
        assert [one.result() for one in got[:3]] == [0, 1, 2]
        assert isinstance(got[3].exception(), Closed)
        with pytest.raises(Closed):
            queue.get_nowait()

    play(test)


def test_each_ends_when_the_queue_is_closed_and_empty(run: Run) -> None:
    queue: Queue[int] = Queue(2)
    shared: Queue[int] = Queue(3)

    def produce() -> None:
        for item in range(50):
            queue.put(BG, item)
        queue.close()

    async def consume() -> None:
        async for item in queue.each(BG):
            await shared.put_async(BG, item)

    async def main() -> None:
        producer = start(produce)
        collecting = start(lambda: [*shared.each(BG)])
        await asyncio.gather(*[consume() for _ in range(4)])
        shared.close()
        assert sorted(collecting.result(LONG)) == [*range(50)]
        producer.result(LONG)

    run(main)


def test_each_raises_when_its_context_ends(run: Run) -> None:
    async def consume(queue: Queue[int], got: list[int]) -> None:
        with BG.with_timeout(1.0) as budget:
            async for item in queue.each(budget):
                got.append(item)

    def consume_in_a_thread(queue: Queue[int], got: list[int]) -> None:
        with BG.with_timeout(1.0) as budget:
            for item in queue.each(budget):
                got.append(item)

    async def main() -> None:
        with VirtualClock() as clock:
            for begin in (
                lambda: asyncio.create_task(consume(queue, got)),
                lambda: start(consume_in_a_thread, queue, got),
            ):
                queue: Queue[int] = Queue()
                got: list[int] = []
                queue.put_nowait(0)
                pending = begin()
                await clock.advance_async(0.5)
                queue.put_nowait(1)
                await clock.advance_async(0.5)
                assert isinstance(pending.exception(), DeadlineExceeded)
                assert got == [0, 1]

    run(main)


# -- in tasks ------------------------------------------------------------------


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_a_getter_that_is_canceled_at_any_turn_loses_nothing(
    run: Run, before: int, after: int
) -> None:
    async def main() -> None:
        got: list[int] = []
        queue: Queue[int] = Queue()

        async def get() -> None:
            got.append(await queue.get_async(BG))

        for number in range(0, 40, 2):
            first, second = asyncio.create_task(get()), asyncio.create_task(get())
            await turns(before)
            queue.put_nowait(number)
            await turns(after)
            first.cancel()
            queue.put_nowait(number + 1)
            await turns()
            second.cancel()
            await turns()
            got += left(queue)
        assert got == [*range(40)]
        assert not queue._items.waiting

    run(main)


@pytest.mark.parametrize("first", ["cancel", "get"])
def test_a_putter_that_is_canceled_is_in_or_out(run: Run, first: str) -> None:
    async def main() -> None:
        queue: Queue[int] = Queue(1)
        queue.put_nowait(0)
        one = asyncio.create_task(queue.put_async(BG, 1))
        other = asyncio.create_task(queue.put_async(BG, 2))
        await turns()
        if first == "cancel":
            one.cancel()
        assert queue.get_nowait() == 0
        if first == "get":
            one.cancel()
        await turns()
        assert one.cancelled()
        assert other.done()
        assert [*left(queue)] == [2]
        queue.put_nowait(3)
        with pytest.raises(Full):
            queue.put_nowait(4)

    run(main)


def test_a_getter_that_gives_back_after_the_close_hands_on(run: Run) -> None:
    async def main() -> None:
        queue: Queue[int] = Queue()
        first = asyncio.create_task(queue.get_async(BG))
        second = asyncio.create_task(queue.get_async(BG))
        await turns()
        queue.put_nowait(1)  # promised to the first
        queue.close()
        first.cancel()
        await turns()
        assert first.cancelled()
        assert await second == 1
        with pytest.raises(Closed):
            await queue.get_async(BG)

    run(main)


def test_interrupted_blocks_lose_no_item(run: Run) -> None:
    """What anyio's streams and asyncio.Queue under asyncio.timeout lose."""

    async def main() -> None:
        queue: Queue[int] = Queue()
        got: list[int] = []
        for number in range(50):
            scope = BG.with_cancel()

            async def block() -> None:
                with scope:
                    got.append(await queue.get_async(BG if number % 2 else scope))

            task = asyncio.create_task(block())
            await turns(3)
            queue.put_nowait(number)
            scope.cancel()
            await asyncio.gather(task, return_exceptions=True)
            got += left(queue)
        assert got == [*range(50)]

    run(main)


def test_an_end_of_an_enclosing_block_is_raised_as_its_interruption(run: Run) -> None:
    async def main() -> None:
        queue: Queue[int] = Queue()
        attempts = 0
        with VirtualClock() as clock:

            async def stubborn() -> None:
                nonlocal attempts
                with BG.with_timeout(1.0) as outer:
                    while True:
                        attempts += 1
                        try:
                            with outer.with_timeout(60.0) as inner:
                                await queue.get_async(inner)
                        except DeadlineExceeded:
                            continue

            task = asyncio.create_task(stubborn())
            await clock.advance_async(1.0)
            assert isinstance(task.exception(), DeadlineExceeded)
            assert attempts == 1

    run(main)


def test_a_busy_ping_pong_notices_its_end(run: Run) -> None:
    async def main() -> None:
        there: Queue[int] = Queue()
        back: Queue[int] = Queue()

        async def echo() -> None:
            async for item in there.each(BG):
                back.put_nowait(item)

        echoing = asyncio.create_task(echo())
        with pytest.raises(DeadlineExceeded):
            with BG.with_timeout(0.02) as budget:
                for number in count():
                    await there.put_async(budget, number)
                    assert await back.get_async(budget) == number
        there.close()
        await echoing

    run(main)


# -- bad input -----------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, True, 1.5, "1"])
def test_a_size_that_is_no_whole_number_is_refused(wrong: int) -> None:
    with pytest.raises(TypeError, match="maxsize is a whole number of at least 0"):
        Queue(wrong)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"maxsize is .* not -1"):
        Queue(-1)


@pytest.mark.parametrize("wrong", [None, 1, "ctx"])
def test_what_is_no_context_is_refused(wrong: Own) -> None:
    queue: Queue[int] = Queue(1)
    for refused in (
        lambda: queue.put(wrong, 1),
        lambda: queue.put_async(wrong, 1).send(None),
        lambda: queue.get(wrong),
        lambda: queue.get_async(wrong).send(None),
        lambda: queue.each(wrong),
    ):
        with pytest.raises(TypeError, match="takes a context, not"):
            refused()
    queue.put_nowait(1)
    assert [*left(queue)] == [1]


def test_the_blocking_forms_on_a_loop_name_the_cure(run: Run) -> None:
    async def main() -> None:
        queue: Queue[int] = Queue(1)
        for refused in (
            lambda: queue.put(BG, 1),
            lambda: queue.get(BG),
            lambda: next(queue.each(BG)),
        ):
            with pytest.raises(RuntimeError, match="in a task use: await queue"):
                refused()
        await queue.put_async(BG, 1)
        assert await queue.get_async(BG) == 1

    run(main)


def test_its_text_says_what_is_in_it_and_who_waits() -> None:
    queue: Queue[int] = Queue(2)
    queue.put_nowait(1)
    assert repr(queue) == "<Queue 1 of 2, 0 get, 0 put>"
    queue.close()
    assert repr(queue) == "<Queue 1 of 2, 0 get, 0 put, closed>"
    assert repr(Queue()) == "<Queue 0, 0 get, 0 put>"
    assert queue.maxsize == 2
