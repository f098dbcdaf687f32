"""VirtualClock: time that a test moves, and "everything has run" means it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, _clock, _loops, background
from tether.testing import VirtualClock


def test_it_starts_at_nought_and_moves_only_when_told() -> None:
    with VirtualClock() as clock:
        assert clock.now() == 0.0
        ctx = background().with_timeout(5.0)
        assert ctx.deadline == 5.0
        clock.advance(2.5)
        assert (clock.now(), ctx.remaining()) == (2.5, 2.5)
        clock.advance(0.0)
        assert clock.now() == 2.5
        clock.advance(2.5)
        assert ctx.done()


def test_real_time_is_back_after_the_block() -> None:
    real = _clock.now
    with VirtualClock() as clock:
        clock.advance(1e6)
        assert _clock.now() == 1e6
    assert _clock.now is real
    with background().with_timeout(0.002) as ctx:
        assert ctx.wait(LONG) is True
    with pytest.raises(KeyError), VirtualClock():
        raise KeyError
    assert _clock.now is real


def test_hours_pass_in_no_time() -> None:
    before = time.monotonic()
    with VirtualClock() as clock:
        sleeping = start(background().sleep, 3600.0 * 24 * 365)
        clock.advance(3600.0 * 24 * 365)
        sleeping.result(LONG)
    assert time.monotonic() - before < LONG


def test_it_stops_at_each_instant_at_which_something_is_due() -> None:
    seen: list[tuple[int, float]] = []
    with VirtualClock() as clock:

        def note(number: int) -> None:
            seen.append((number, clock.now()))

        for number in (3, 1, 2):
            ctx = background().with_timeout(float(number))
            ctx.after_func(lambda number=number: note(number))
        clock.advance(10.0)
        assert clock.now() == 10.0
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_what_is_set_free_runs_until_it_waits_again() -> None:
    seen: list[float] = []

    def tick(ctx: Context, clock: VirtualClock) -> None:
        while not ctx.wait(1.0):
            seen.append(clock.now())

    with VirtualClock() as clock:
        with background().with_timeout(5.5) as ctx:
            ticking = start(tick, ctx, clock)
            clock.advance(10.0)
            assert ticking.result(LONG) is None
    assert seen == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_chain_of_threads_and_functions_has_run_when_it_returns() -> None:
    with VirtualClock() as clock:
        first = background().with_timeout(1.0)
        second, third = background().with_cancel(), background().with_cancel()
        first.after_func(second.cancel)

        def relay() -> None:
            second.wait()
            third.cancel()

        start(relay)
        done: list[bool] = []
        third.after_func(lambda: done.append(True))
        clock.advance(1.0)
        assert third.done()
        assert done == [True]


def test_a_deadline_set_by_a_function_in_the_past_of_the_move_is_kept() -> None:
    seen: list[float] = []
    with VirtualClock() as clock:

        def again() -> None:
            seen.append(clock.now())
            if len(seen) < 5:
                background().with_timeout(1.0).after_func(again)

        background().with_timeout(1.0).after_func(again)
        clock.advance(10.0)
    assert seen == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_thread_that_waits_elsewhere_does_not_hold_it_up_for_long() -> None:
    with VirtualClock() as clock:
        release = threading.Event()
        blocked = start(release.wait, LONG)
        clock.advance(5.0)
        assert clock.now() == 5.0
        release.set()
        assert blocked.result(LONG)


def test_a_thread_that_was_there_before_may_use_it() -> None:
    go, ready = threading.Event(), threading.Event()

    def body() -> bool:
        ready.set()
        assert go.wait(LONG)
        return background().with_timeout(5.0).wait()

    working = start(body)
    assert ready.wait(LONG)
    with VirtualClock() as clock:
        go.set()
        while not working.done():
            clock.advance(1.0)
        assert working.result() is True
        assert clock.now() >= 5.0


def test_who_still_waits_when_it_is_left_waits_on_by_the_real_clock() -> None:
    with VirtualClock() as clock:
        scope = background().with_cancel()
        waiting = start(scope.wait)
        short = start(background().wait, 5.0)
        clock.settle()
    # The clock of the machine shows far more than 5 seconds.
    assert short.result(LONG) is False
    assert not waiting.done()
    scope.cancel()
    assert waiting.result(LONG) is True


def test_many_deadlines_are_one_step_each() -> None:
    with VirtualClock() as clock:
        contexts = [background().with_timeout(1.0 + n % 50) for n in range(1000)]
        told: list[float] = []
        for ctx in contexts:
            ctx.done_signal().add_callback(lambda: told.append(clock.now()))
        clock.advance(100.0)
        assert told == sorted(1.0 + n % 50 for n in range(1000))


@pytest.mark.parametrize("order", [1, -1])
def test_a_nearer_deadline_after_a_later_one(order: int) -> None:
    with VirtualClock() as clock:
        seen: list[float] = []
        for seconds in list(range(1, 50))[::order]:
            ctx = background().with_timeout(float(seconds))
            ctx.done_signal().add_callback(lambda: seen.append(clock.now()))
            if seconds % 5 == 0:
                ctx.cancel()
        early = seen.copy()
        clock.advance(60.0)
        assert early == [0.0] * 9
        assert seen[9:] == [float(n) for n in range(1, 50) if n % 5]


# -- in tasks ------------------------------------------------------------------


def test_the_tasks_of_the_loop_run_too(run: Run) -> None:
    seen: list[float] = []

    async def tick(ctx: Context, clock: VirtualClock) -> None:
        while not await ctx.wait_async(1.0):
            seen.append(clock.now())

    async def main() -> None:
        with VirtualClock() as clock:
            ctx = background().with_timeout(3.5)
            task = asyncio.create_task(tick(ctx, clock))
            await clock.advance_async(10.0)
            assert task.done()
            await task
            assert clock.now() == 10.0

    run(main)
    assert seen == [1.0, 2.0, 3.0]


def test_blocks_of_tasks_end_at_their_deadlines(run: Run) -> None:
    ended: list[tuple[float, float]] = []

    async def work(seconds: float, clock: VirtualClock) -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(seconds):
                await asyncio.get_running_loop().create_future()
        ended.append((seconds, clock.now()))

    async def main() -> None:
        with VirtualClock() as clock:
            tasks = [
                asyncio.create_task(work(seconds, clock)) for seconds in (2.0, 3.0, 1.0)
            ]
            await clock.advance_async(2.5)
            assert [task.done() for task in tasks] == [True, False, True]
            await clock.advance_async(0.5)
            assert all(task.done() for task in tasks)
            await asyncio.gather(*tasks)

    run(main)
    assert ended == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


def test_the_task_that_moves_it_may_be_inside_a_block(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(5.0) as ctx:
                    await clock.advance_async(4.0)
                    assert not ctx.done()
                    await clock.advance_async(2.0)
                    raise AssertionError
            assert clock.now() >= 5.0

    run(main)


def test_settle_lets_threads_and_tasks_hand_on_to_each_other(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            first, second = background().with_cancel(), background().with_cancel()
            third = background().with_cancel()

            def in_a_thread() -> None:
                first.wait()
                second.cancel()

            async def in_a_task() -> None:
                await second.wait_async()
                third.cancel()

            start(in_a_thread)
            task = asyncio.create_task(in_a_task())
            await clock.settle_async()
            assert not second.done()
            first.cancel()
            await clock.settle_async()
            assert third.done()
            await task

    run(main)


def test_a_loop_in_another_thread_follows_it(run: Run) -> None:
    async def main() -> str:
        scope = background().with_timeout(5.0)
        try:
            await scope.sleep_async(60.0)
        except (DeadlineExceeded, Canceled) as exc:
            return type(exc).__name__
        raise AssertionError

    with VirtualClock() as clock:
        running = start(run, main)
        while not running.done():
            clock.advance(1.0)
        assert running.result() == "DeadlineExceeded"


def test_it_leaves_no_timer_in_the_loop_behind(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(3600.0):
                await clock.advance_async(1.0)
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.002):
                await asyncio.sleep(LONG)

    run(main)


def test_a_loop_that_goes_meanwhile_is_not_taken_for_a_later_one(run: Run) -> None:
    async def wait() -> None:
        ctx = background().with_cancel()
        waiting = asyncio.create_task(ctx.wait_async())
        await asyncio.sleep(0)
        ctx.cancel()
        assert await asyncio.wait_for(waiting, LONG)

    loops = [run.new_loop() for _ in range(5)]
    for loop in loops:
        loop.run_until_complete(wait())
    idents = {id(loop) for loop in loops}
    with VirtualClock():
        while loops:
            loops.pop().close()
        del loop
        gc.collect()
    assert not idents & {*_loops.states}
    for _ in range(5):  # one of them has the id of a loop that is gone, most likely
        run(wait)
