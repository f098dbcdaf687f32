"""Semaphore: first come, first served, and every wait ends with its context."""

from __future__ import annotations

import asyncio
import gc
import signal

import pytest

from tests.core.sides import Play, Side
from tests.core.support import LONG, Own, Wrapper, here, start
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, Semaphore, background
from tether.testing import VirtualClock

BG = background()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def free(semaphore: Semaphore, most: int = 100) -> int:
    """How much of it can be had now."""
    got = 0
    while got < most and semaphore.try_acquire():
        got += 1
    if got:
        semaphore.release(got)
    return got


# -- in threads and in tasks ---------------------------------------------------


def test_what_is_free_is_had_at_once(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(5)
        for weight in (1, 0, 4):
            assert (await side.call(semaphore, "acquire", BG, weight)).done()
        assert not semaphore.try_acquire()
        assert semaphore.try_acquire(0)
        semaphore.release(5)
        assert free(semaphore) == 5

    play(test)


def test_first_come_first_served(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(3)
        assert semaphore.try_acquire(3)
        weights = [2, 3, 1, 1, 0]
        waiting = [await side.call(semaphore, "acquire", BG, one) for one in weights]
        semaphore.release()
        await side.settle()
        assert not semaphore.try_acquire(0), "somebody waits"
        assert [one.done() for one in waiting] == [False] * 5
        semaphore.release()
        await side.settle()
        assert [one.done() for one in waiting] == [True, *[False] * 4]
        semaphore.release(2)
        await side.settle()
        assert [one.done() for one in waiting] == [True, *[False] * 4]
        semaphore.release()
        await side.settle()
        assert [one.done() for one in waiting] == [True, True, *[False] * 3]
        semaphore.release(3)
        await side.settle()
        assert all(one.done() for one in waiting)
        assert free(semaphore) == 1

    play(test)


def test_a_wait_ends_with_its_context_alone(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(1)
        assert semaphore.try_acquire()
        scope = BG.with_cancel()
        first = await side.call(semaphore, "acquire", BG.with_timeout(5.0))
        second = await side.call(semaphore, "acquire", scope.with_timeout(60.0))
        third = await side.call(semaphore, "acquire", BG)
        scope.cancel(KeyError("gone"))
        await side.settle()
        error = second.exception()
        assert isinstance(error, Canceled)
        assert isinstance(error.__cause__, KeyError)
        assert not first.done()
        await side.advance(5.0)
        assert isinstance(first.exception(), DeadlineExceeded)
        semaphore.release()
        await side.settle()
        assert third.done()

    play(test)


@pytest.mark.parametrize("make", [Wrapper, Own], ids=["wrapper", "own"])
def test_a_wait_under_a_user_made_context(play: Play, make: type[Own]) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(0)
        scope = BG.with_cancel()
        ctx = Own() if make is Own else Wrapper(scope)
        pending = await side.call(semaphore, "acquire", ctx, 0)
        assert pending.done()
        pending = await side.call(semaphore, "acquire", ctx)
        assert not pending.done()
        scope.cancel()
        if isinstance(ctx, Own):
            ctx.end(LookupError("of my own"))
        await side.settle()
        expected = LookupError if make is Own else Canceled
        assert isinstance(pending.exception(), expected)

    play(test)


def test_under_a_context_that_is_over_nothing_is_acquired(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(1)
        canceled = BG.with_cancel()
        canceled.cancel()
        for ctx in (canceled, BG.with_timeout(0.0)):
            for weight in (0, 1, 2):
                pending = await side.call(semaphore, "acquire", ctx, weight)
                assert isinstance(pending.exception(), (Canceled, DeadlineExceeded))
        assert free(semaphore) == 1

    play(test)


def test_a_cancel_that_came_before_a_release_wins(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(1)
        assert semaphore.try_acquire()
        scope = BG.with_cancel()
        first = await side.call(semaphore, "acquire", scope)
        second = await side.call(semaphore, "acquire", BG)
        scope.cancel()
        semaphore.release()
        await side.settle()
        assert isinstance(first.exception(), Canceled)
        assert second.done()
        assert not semaphore.try_acquire()

    play(test)


def test_a_release_that_came_before_a_cancel_is_not_lost(play: Play) -> None:
    async def test(side: Side) -> None:
        for _ in range(20):
            semaphore = Semaphore(1)
            assert semaphore.try_acquire()
            scope = BG.with_cancel()
            first = await side.call(semaphore, "acquire", scope)
            second = await side.call(semaphore, "acquire", BG)
            semaphore.release()
            scope.cancel()
            await side.settle()
            assert first.done()
            if first.exception() is None:
                semaphore.release()
                await side.settle()
            assert second.done()
            semaphore.release()
            assert free(semaphore) == 1

    play(test)


def test_when_a_large_head_gives_up_those_behind_go_on(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(5)
        assert semaphore.try_acquire(3)
        large = await side.call(semaphore, "acquire", BG.with_timeout(1.0), 4)
        small = [await side.call(semaphore, "acquire", BG) for _ in range(3)]
        assert not any(one.done() for one in small)
        await side.advance(1.0)
        assert isinstance(large.exception(), DeadlineExceeded)
        assert [one.done() for one in small] == [True, True, False]
        semaphore.release(5)
        await side.settle()
        assert small[2].done()

    play(test)


def test_what_never_fits_waits_for_its_context_and_holds_up_nobody(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(2)
        doomed = await side.call(semaphore, "acquire", BG.with_timeout(1.0), 3)
        assert not doomed.done()
        assert (await side.call(semaphore, "acquire", BG, 2)).done()
        semaphore.release(2)
        await side.advance(1.0)
        assert isinstance(doomed.exception(), DeadlineExceeded)
        assert not semaphore.try_acquire(3)
        assert free(semaphore) == 2

    play(test)


def test_a_wait_leaves_nothing_behind(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(1)
        assert semaphore.try_acquire()
        with BG.with_timeout(60.0) as budget:
            waiting = [await side.call(semaphore, "acquire", budget) for _ in range(3)]
            assert budget._hooks is not None
            for _ in range(3):
                semaphore.release()
                await side.settle()
            assert all(one.done() for one in waiting)
            assert budget._hooks is None
        assert not semaphore._line.waiting

    play(test)


def test_releasing_more_than_is_held_changes_nothing(play: Play) -> None:
    async def test(side: Side) -> None:
        semaphore = Semaphore(2)
        with pytest.raises(RuntimeError, match="released more than held"):
            semaphore.release()
        assert semaphore.try_acquire(2)
        pending = await side.call(semaphore, "acquire", BG)
        with pytest.raises(RuntimeError, match="released more than held"):
            semaphore.release(3)
        await side.settle()
        assert not pending.done()
        semaphore.release(2)
        await side.settle()
        assert pending.done()
        assert free(semaphore) == 1

    play(test)


# -- across threads and loops --------------------------------------------------


def test_threads_and_tasks_of_two_loops_in_one_line(run: Run) -> None:
    semaphore = Semaphore(1)
    assert semaphore.try_acquire()
    order: list[str] = []

    def in_line(count: int) -> None:
        while len(semaphore._line.waiting) < count:
            pass

    async def in_task(name: str) -> None:
        async with semaphore.held(BG):
            order.append(name)

    def in_thread() -> None:
        with semaphore.held(BG):
            order.append("thread")

    async def main() -> None:
        here = asyncio.create_task(in_task("here"))
        await turns()
        there = start(run, in_task, "there")
        in_line(2)
        thread = start(in_thread)
        in_line(3)
        last = asyncio.create_task(in_task("last"))
        await turns()
        await asyncio.to_thread(semaphore.release)
        await asyncio.gather(here, last)
        there.result(LONG)
        thread.result(LONG)

    run(main)
    assert order == ["here", "there", "thread", "last"]
    assert free(semaphore) == 1


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_a_loop_that_is_closed_keeps_no_permit(run: Run) -> None:
    semaphore = Semaphore(1)
    assert semaphore.try_acquire()
    loop = run.new_loop()
    loop.set_exception_handler(lambda loop, context: None)  # "destroyed but pending"
    task = loop.create_task(semaphore.acquire_async(BG))
    loop.run_until_complete(turns())
    loop.close()
    semaphore.release()
    assert free(semaphore) == 1
    del task
    gc.collect()
    assert free(semaphore) == 1


# -- in tasks ------------------------------------------------------------------


def test_a_task_that_is_canceled_when_it_was_granted_gives_back(run: Run) -> None:
    async def main() -> None:
        semaphore = Semaphore(1)
        assert semaphore.try_acquire()
        first = asyncio.create_task(semaphore.acquire_async(BG))
        second = asyncio.create_task(semaphore.acquire_async(BG))
        await turns()
        semaphore.release()  # to the first, which has not run yet
        first.cancel()
        await turns()
        assert first.cancelled()
        assert second.done()
        semaphore.release()
        assert free(semaphore) == 1

    run(main)


def test_a_task_that_is_canceled_before_it_is_granted_is_passed_over(run: Run) -> None:
    async def main() -> None:
        semaphore = Semaphore(1)
        assert semaphore.try_acquire()
        first = asyncio.create_task(semaphore.acquire_async(BG))
        second = asyncio.create_task(semaphore.acquire_async(BG))
        await turns()
        first.cancel()  # and is still in line when the release comes
        semaphore.release()
        await turns()
        assert first.cancelled()
        assert second.done()
        semaphore.release()
        assert free(semaphore) == 1

    run(main)


@pytest.mark.parametrize("first", ["end", "release"])
def test_scopes_that_end_in_the_turn_of_a_release_lose_nothing(
    run: Run, first: str
) -> None:
    async def main() -> None:
        semaphore = Semaphore(1)
        got = 0
        for explicit in (True, False) * 25:
            assert semaphore.try_acquire()

            async def hold() -> None:
                nonlocal got
                async with semaphore.held(scope if explicit else BG):
                    got += 1

            async def block() -> None:
                with scope:
                    await hold()

            scope = BG.with_cancel()
            task = asyncio.create_task(block())
            await turns(3)
            if first == "end":
                scope.cancel()
            semaphore.release()
            if first == "release":
                scope.cancel()
            await asyncio.wait([task])
            assert task.exception() is None or isinstance(task.exception(), Canceled)
            assert free(semaphore) == 1
        if first == "release":
            assert got >= 25, "what was granted is delivered"

    run(main)


def test_an_end_of_an_enclosing_block_is_raised_as_its_interruption(run: Run) -> None:
    async def main() -> None:
        semaphore = Semaphore(0)
        attempts = 0
        with VirtualClock() as clock:

            async def stubborn() -> None:
                nonlocal attempts
                with BG.with_timeout(1.0) as outer:
                    while True:
                        attempts += 1
                        try:
                            with outer.with_timeout(60.0) as inner:
                                await semaphore.acquire_async(inner)
                        except DeadlineExceeded:
                            continue

            task = asyncio.create_task(stubborn())
            await clock.advance_async(1.0)
            assert isinstance(task.exception(), DeadlineExceeded)
            assert attempts == 1

    run(main)


def test_held_in_a_task_gives_back_whatever_happens(run: Run) -> None:
    async def main() -> None:
        semaphore = Semaphore(3)
        with pytest.raises(KeyError):
            async with semaphore.held(BG, 2):
                assert free(semaphore) == 1
                raise KeyError
        assert free(semaphore) == 3
        held = semaphore.held(BG)
        async with held, held:
            assert free(semaphore) == 1
        assert free(semaphore) == 3

    run(main)


# -- in threads ----------------------------------------------------------------


def test_held_in_a_thread_gives_back_whatever_happens() -> None:
    semaphore = Semaphore(3)
    with pytest.raises(KeyError):
        with semaphore.held(BG, 2):
            assert free(semaphore) == 1
            raise KeyError
    assert free(semaphore) == 3


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_a_signal_handler_may_release_what_its_thread_waits_for() -> None:
    semaphore = Semaphore(1)
    semaphore.acquire(BG)
    before = signal.signal(signal.SIGALRM, lambda *_: semaphore.release())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with BG.with_timeout(LONG) as budget:
            semaphore.acquire(budget)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert free(semaphore) == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
def test_ctrl_c_in_a_wait_leaves_the_line() -> None:
    class CtrlC(BaseException):
        pass

    def handler(*_: object) -> None:
        raise CtrlC

    semaphore = Semaphore(1)
    semaphore.acquire(BG)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(CtrlC):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            semaphore.acquire(BG)
    finally:
        signal.signal(signal.SIGALRM, before)
    semaphore.release()
    assert free(semaphore) == 1


def test_a_finalizer_may_release() -> None:
    class Lease:
        def __init__(self, semaphore: Semaphore) -> None:
            semaphore.acquire(BG)
            self.semaphore = semaphore

        def __del__(self) -> None:
            self.semaphore.release()

    semaphore = Semaphore(1)
    lease = Lease(semaphore)
    waiting = start(semaphore.acquire, BG)
    del lease
    waiting.result(LONG)


# -- bad input -----------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, True, 1.0, "1", [1]])
def test_what_is_no_whole_number_is_refused(wrong: int) -> None:
    semaphore = Semaphore(2)
    for refused in (
        lambda: Semaphore(wrong),
        lambda: semaphore.acquire(BG, wrong),
        lambda: semaphore.acquire_async(BG, wrong).send(None),
        lambda: semaphore.try_acquire(wrong),
        lambda: semaphore.release(wrong),
        lambda: semaphore.held(BG, wrong).__enter__(),
    ):
        with pytest.raises(TypeError, match="is a whole number of at least 0, not"):
            refused()
    assert free(semaphore) == 2


def test_negative_numbers_are_refused() -> None:
    semaphore = Semaphore(2)
    for refused in (
        lambda: Semaphore(-1),
        lambda: semaphore.acquire(BG, -1),
        lambda: semaphore.acquire_async(BG, -1).send(None),
        lambda: semaphore.try_acquire(-1),
        lambda: semaphore.release(-1),
    ):
        with pytest.raises(ValueError, match="at least 0, not -1"):
            refused()
    assert free(semaphore) == 2


@pytest.mark.parametrize("wrong", [None, 1, "ctx", object()])
def test_what_is_no_context_is_refused(wrong: Own) -> None:
    semaphore = Semaphore(2)
    for refused in (
        lambda: semaphore.acquire(wrong),
        lambda: semaphore.acquire_async(wrong).send(None),
        lambda: semaphore.held(wrong).__enter__(),
        lambda: semaphore.held(wrong).__aenter__().send(None),
    ):
        with pytest.raises(TypeError, match=r"takes a context, not .*current\(\)"):
            refused()
    assert free(semaphore) == 2


def test_the_blocking_forms_on_a_loop_name_the_cure(run: Run) -> None:
    async def main() -> None:
        semaphore = Semaphore(1)
        with pytest.raises(RuntimeError, match="use: await semaphore"):
            semaphore.acquire(BG)
        with pytest.raises(RuntimeError, match="use: async with semaphore"):
            with semaphore.held(BG):
                raise AssertionError
        assert free(semaphore) == 1

    run(main)


def test_the_error_names_the_budget_that_ran_out() -> None:
    semaphore = Semaphore(0)
    with pytest.raises(DeadlineExceeded) as caught:
        with BG.with_timeout(0.2) as budget:
            made = here()
            semaphore.acquire(budget)
    file, line = made.rsplit(":", 1)
    assert f"0.2 s budget set at {file}:{int(line) - 1}" in caught.value.detail


def test_its_text_says_who_has_it_and_who_waits() -> None:
    semaphore = Semaphore(3)
    assert semaphore.try_acquire(2)
    assert repr(semaphore) == "<Semaphore 1 of 3 free, 0 wait>"
