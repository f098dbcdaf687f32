"""The moments at which an end may come: whatever they are, nothing is lost or left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.core.test_interrupt import cancelling, forever, turns, undisturbed
from tether import Canceled, DeadlineExceeded, background
from tether.testing import VirtualClock

Run = Callable[..., Any]


def test_the_end_comes_in_the_turn_in_which_the_block_is_left(run: Run) -> None:
    """In every one of the turns around it: raised inside or not at all."""

    def call_later_by_turns(left: int, end: Callable[[], None]) -> None:
        if left:
            loop = asyncio.get_running_loop()
            loop.call_soon(call_later_by_turns, left - 1, end)
        else:
            end()

    async def main() -> None:
        outcomes = set()
        for late in range(8):
            scope = background().with_cancel()
            call_later_by_turns(late, scope.cancel)
            try:
                with scope:
                    await turns(4)
            except Canceled:
                outcomes.add("canceled")
            else:
                outcomes.add("finished")
            await undisturbed()
        assert outcomes == {"canceled", "finished"}

    run(main)


def test_a_result_on_its_way_is_delivered_first(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        scope, kept = background().with_cancel(), []
        future: asyncio.Future[int] = loop.create_future()

        def both() -> None:
            future.set_result(42)
            scope.cancel()

        loop.call_soon(both)
        with pytest.raises(Canceled):
            with scope:
                kept.append(await future)
                await forever()
        assert kept == [42]
        await undisturbed()

    run(main)


def test_a_result_on_its_way_through_awaited_tasks_is_delivered_first(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        scope, kept = background().with_cancel(), []
        future: asyncio.Future[int] = loop.create_future()

        async def take() -> int:
            return await future

        async def through() -> int:
            return await asyncio.create_task(take())

        def both() -> None:
            future.set_result(42)
            scope.cancel()

        with pytest.raises(Canceled):
            with scope:
                task = asyncio.create_task(through())
                await turns(3)
                loop.call_soon(both)
                kept.append(await task)
                await forever()
        assert kept == [42]
        await undisturbed()

    run(main)


def test_a_result_and_a_deadline_in_the_same_turn(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[int] = loop.create_future()

            def both() -> None:
                clock.advance(1.0)
                future.set_result(42)

            loop.call_soon(both)
            with background().with_timeout(1.0) as scope:
                assert await future == 42
            assert isinstance(scope.err(), DeadlineExceeded)
            await undisturbed()

    run(main)


def test_a_bare_yield_counts_as_waiting(run: Run) -> None:
    async def main() -> None:
        spins = 0
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                while True:
                    spins += 1
                    await asyncio.sleep(0)
        assert spins < 5
        await undisturbed()

    run(main)


def test_a_queue_ping_pong_that_never_really_waits_is_interrupted_all_the_same(
    run: Run,
) -> None:
    async def main() -> None:
        there: asyncio.Queue[int] = asyncio.Queue(1)
        back: asyncio.Queue[int] = asyncio.Queue(1)

        async def pong() -> None:
            while True:
                await back.put(await there.get())

        other = asyncio.create_task(pong())
        scope = background().with_cancel()
        rounds = 0
        with pytest.raises(Canceled):
            with scope:
                while True:
                    await there.put(1)
                    await back.get()
                    rounds += 1
                    if rounds == 10:
                        scope.cancel()
                    assert rounds < 100_000
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other
        await undisturbed()

    run(main)


class Ready:
    """Suspends its task on what is done already, so that something is always in hand."""

    def __await__(self) -> Generator[asyncio.Future[None], None, None]:
        ready = asyncio.get_running_loop().create_future()
        ready.set_result(None)
        ready._asyncio_future_blocking = True
        yield ready


def test_a_task_that_only_ever_awaits_what_is_ready_is_interrupted(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        rounds = 0
        with pytest.raises(Canceled):
            with scope:
                scope.cancel()
                while True:
                    await Ready()
                    rounds += 1
                    assert rounds < 100_000
        assert rounds > 1  # each of them might have been the last
        await undisturbed()

    run(main)


def test_a_foreign_cancel_in_the_same_turn_wins_and_stays_counted(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for order in (0, 1):
            scope = background().with_cancel()

            async def victim() -> None:
                with scope:
                    await forever()

            task = asyncio.create_task(victim())
            await turns(3)
            ends = [task.cancel, scope.cancel]
            if order:
                ends.reverse()

            def both() -> None:
                for end in ends:
                    end()

            loop.call_soon(both)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            assert task.cancelling() == 1

    run(main)


def test_a_foreign_cancel_alone_passes_through_untouched(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()

        async def victim() -> None:
            with scope:
                await forever()

        task = asyncio.create_task(victim())
        await turns(3)
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        assert caught.value.args == ("mine",)
        assert isinstance(scope.err(), Canceled)

    run(main)


def test_a_budget_for_the_cleanup_of_a_canceled_task_is_its_own(run: Run) -> None:
    async def main() -> None:
        async def victim() -> str:
            try:
                await forever()
            except asyncio.CancelledError:
                try:
                    with background().with_timeout(1.0):
                        await forever()
                except DeadlineExceeded:
                    return "own deadline"
            return "?"

        with VirtualClock() as clock:
            task = asyncio.create_task(victim())
            await turns(3)
            task.cancel()
            await clock.advance_async(0.5)
            assert not task.done()
            await clock.advance_async(0.5)
            assert await task == "own deadline"

    run(main)


def test_an_error_of_an_awaited_task_that_was_canceled_elsewhere_is_not_ours(
    run: Run,
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            other = asyncio.create_task(forever())
            await turns(2)

            def both() -> None:
                other.cancel()

            with pytest.raises(asyncio.CancelledError):
                with background().with_timeout(1.0):
                    asyncio.get_running_loop().call_soon(both)
                    try:
                        await other
                    finally:
                        clock.advance(2.0)  # past its end, but nobody was interrupted
            await undisturbed()

    run(main)


def test_cancel_from_another_thread_wakes_a_sleeping_loop(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        thread = threading.Thread(target=scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                thread.start()
                await forever()
        thread.join()
        await undisturbed()

    run(main)


def test_cancel_from_another_thread_while_the_loop_closes() -> None:
    for _ in range(50):
        scope = background().with_cancel()
        go = threading.Event()

        def cancel(scope: Any = scope, go: threading.Event = go) -> None:
            go.wait()
            scope.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()

        async def main(scope: Any = scope, go: threading.Event = go) -> None:
            with contextlib.suppress(Canceled), scope:
                go.set()
                await asyncio.sleep(0)

        asyncio.run(main())
        thread.join()
        assert scope.done()


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_a_scope_that_outlives_its_closed_loop_can_be_canceled() -> None:
    scope = background().with_cancel()

    async def abandon() -> None:
        scope.__enter__()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon())
    loop.close()
    scope.cancel()
    assert isinstance(scope.err(), Canceled)


def test_cancel_of_many_waiting_tasks_wakes_the_loop_once_and_all_of_them(
    run: Run,
) -> None:
    async def main() -> None:
        scope = background().with_cancel()

        async def one() -> None:
            with scope.with_timeout(60.0):
                await forever()

        tasks = [asyncio.create_task(one()) for _ in range(500)]
        await turns(3)
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        woken = 0

        def count(*args: Any, **more: Any) -> asyncio.Handle:
            nonlocal woken
            woken += 1
            return wake(*args, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", count)
            thread = threading.Thread(target=scope.cancel)
            thread.start()
            thread.join()  # the loop stands still meanwhile
        assert woken == 1
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} == {Canceled}
        assert cancelling() == 0

    run(main)
