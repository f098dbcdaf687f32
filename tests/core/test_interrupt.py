"""A done scope interrupts its task: what the block raises and leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tether import Canceled, Context, ContextError, DeadlineExceeded, Key, background
from tether._loops import state_of
from tether.testing import VirtualClock

Run = Callable[..., Any]
NUMBER: Key[int] = Key("number")


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def undisturbed() -> None:
    """Fails if an interruption is left over for whoever awaits next."""
    assert cancelling() == 0
    await turns()


def test_a_deadline_interrupts_what_knows_nothing_of_contexts(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.02) as budget:
                await forever()
        assert caught.value.ctx is budget
        assert isinstance(caught.value, TimeoutError)
        await undisturbed()

    run(main)


def test_a_cancel_interrupts_and_its_cause_is_the_cause(run: Run) -> None:
    class GoneError(Exception):
        pass

    gone = GoneError("client")

    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel, gone)
        with pytest.raises(Canceled) as caught:
            with scope:
                await forever()
        assert caught.value.__cause__ is gone
        assert scope.cause() is gone
        await undisturbed()

    run(main)


def test_the_interruption_is_asyncios_own_until_the_block_is_left(run: Run) -> None:
    async def main() -> None:
        seen: list[BaseException] = []
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                try:
                    await forever()
                except BaseException as exc:
                    seen.append(exc)
                    raise
        assert [type(exc) for exc in seen] == [asyncio.CancelledError]

    run(main)


def test_an_ancestors_end_becomes_an_error_at_the_outermost_done_block(
    run: Run,
) -> None:
    async def main() -> None:
        inner_caught: list[BaseException] = []
        outer = background().with_cancel()
        asyncio.get_running_loop().call_soon(outer.cancel)
        with pytest.raises(Canceled) as caught:
            with outer:
                with outer.with_cancel() as middle:
                    try:
                        with middle.with_timeout(60.0):
                            await forever()
                    except ContextError as exc:
                        inner_caught.append(exc)
        assert inner_caught == []
        assert caught.value.ctx is outer
        await undisturbed()

    run(main)


def test_two_that_end_in_the_same_instant_are_one_interruption_of_the_outer(
    run: Run,
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            inner_caught = []
            deliveries = 0
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(1.0) as outer:
                    try:
                        with outer.with_timeout(1.0):
                            asyncio.get_running_loop().call_soon(clock.advance, 1.0)
                            try:
                                await forever()
                            except asyncio.CancelledError:
                                deliveries += 1
                                raise
                    except ContextError as exc:
                        inner_caught.append(exc)
            assert (inner_caught, deliveries) == ([], 1)
            assert caught.value.ctx is outer
            await undisturbed()

    run(main)


def test_unrelated_blocks_interrupt_too_and_the_outermost_done_one_raises(
    run: Run,
) -> None:
    async def main() -> None:
        first, second = background().with_cancel(), background().with_cancel()
        loop = asyncio.get_running_loop()
        loop.call_soon(second.cancel)
        loop.call_soon(first.cancel)
        with pytest.raises(Canceled) as caught:
            with first:
                with pytest.raises(asyncio.CancelledError):
                    with second:
                        await forever()
                raise asyncio.CancelledError  # goes on outwards
        assert caught.value.ctx is first
        await undisturbed()

    run(main)


def test_only_the_inner_ending_leaves_the_outer_alone(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as outer:
            inner = outer.with_cancel()
            asyncio.get_running_loop().call_soon(inner.cancel)
            with pytest.raises(Canceled) as caught:
                with inner:
                    await forever()
            assert caught.value.ctx is inner
            await undisturbed()
            assert not outer.done()

    run(main)


def test_a_scope_that_its_task_cancels_itself_strikes_at_the_next_wait(
    run: Run,
) -> None:
    async def main() -> None:
        reached = []
        with pytest.raises(Canceled):
            with background().with_cancel() as scope:
                scope.cancel()
                reached.append("after cancel")
                await forever()
        assert reached == ["after cancel"]
        await undisturbed()

    run(main)


def test_leaving_without_a_wait_after_canceling_is_quiet(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as scope:
            scope.cancel()
        await undisturbed()

    run(main)


def test_a_body_that_ends_past_its_end_keeps_its_outcome(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(1.0) as scope:
                clock.advance(2.0)
            assert isinstance(scope.err(), DeadlineExceeded)
            with pytest.raises(KeyError):
                with background().with_timeout(1.0):
                    clock.advance(2.0)
                    raise KeyError
            await undisturbed()

    run(main)


def test_another_error_raised_in_answer_to_the_interruption_stands(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(KeyError):
            with scope:
                try:
                    await forever()
                except asyncio.CancelledError:
                    raise KeyError from None
        await undisturbed()

    run(main)


def test_it_is_delivered_once_so_cleanup_may_wait(run: Run) -> None:
    async def main() -> None:
        cleaned = False
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                try:
                    await forever()
                finally:
                    await turns()
                    cleaned = True
        assert cleaned
        await undisturbed()

    run(main)


def test_code_that_swallows_it_finds_every_further_call_raising(run: Run) -> None:
    async def main() -> None:
        raised = 0
        with background().with_cancel() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            try:
                await forever()
            except asyncio.CancelledError:
                pass
            await turns()  # not ours: goes on
            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: scope.sleep_async(1.0),
                lambda: scope.sleep_async(0.0),
            ]
            for call in calls:
                with pytest.raises(asyncio.CancelledError):
                    await call()
                raised += 1
            with pytest.raises(asyncio.CancelledError):
                scope.check()
            with pytest.raises(asyncio.CancelledError):
                list(scope.poll([1]))
            with pytest.raises(asyncio.CancelledError):
                with scope.with_timeout(1.0):
                    raise AssertionError("entered under a done context")
        assert raised == 2
        await undisturbed()

    run(main)


def test_an_outer_end_after_a_swallowed_inner_one_is_delivered_anew(run: Run) -> None:
    async def main() -> None:
        outer, log = background().with_cancel(), []
        with pytest.raises(Canceled) as caught:
            with outer:
                with outer.with_cancel() as inner:
                    asyncio.get_running_loop().call_soon(inner.cancel)
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        log.append("swallowed")
                    asyncio.get_running_loop().call_soon(outer.cancel)
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        log.append("again")
                        raise
        assert log == ["swallowed", "again"]
        assert caught.value.ctx is outer
        await undisturbed()

    run(main)


def test_a_retry_loop_around_an_inner_deadline_cannot_spin(run: Run) -> None:
    async def main() -> None:
        attempts = 0

        async def attempt(ctx: Context) -> None:
            with ctx.with_timeout(0.25):
                await forever()

        with VirtualClock() as clock:

            async def tick() -> None:
                for _ in range(40):
                    await clock.advance_async(0.125)

            ticking = asyncio.ensure_future(tick())
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(1.0) as budget:
                    while True:
                        attempts += 1
                        try:
                            await attempt(budget)
                        except DeadlineExceeded:
                            continue
            assert caught.value.ctx is budget
            assert 3 <= attempts <= 5
            await ticking
            await undisturbed()

    run(main)


def test_a_retry_loop_that_never_waits_cannot_spin_either(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            rounds = 0
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(1.0) as budget:
                    clock.advance(2.0)
                    while rounds < 1000:
                        rounds += 1
                        try:
                            with budget.with_timeout(0.1) as inner:
                                inner.check()
                        except DeadlineExceeded:
                            continue
            assert rounds == 1
            assert caught.value.ctx is budget
            await undisturbed()

    run(main)


def test_an_end_of_no_enclosing_block_is_raised_directly(run: Run) -> None:
    async def main() -> None:
        over = background().with_timeout(0.0)
        with background().with_cancel():
            with pytest.raises(DeadlineExceeded) as caught:
                over.check()
            assert caught.value.ctx is over
            with pytest.raises(DeadlineExceeded):
                with over.with_cancel():
                    raise AssertionError("entered")
            with pytest.raises(DeadlineExceeded):
                await over.sleep_async(1.0)
        await undisturbed()

    run(main)


def test_an_entered_scope_under_a_done_one_never_starts(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        scope.cancel()
        with pytest.raises(Canceled):
            with scope.with_timeout(1.0):
                raise AssertionError("entered")
        await undisturbed()

    run(main)


def test_each_task_is_told_by_its_own_block_only(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()

        async def bound() -> str:
            try:
                with scope.with_cancel():
                    await forever()
            except Canceled:
                return "canceled"
            return "ended"

        async def free() -> str:
            await turns(50)
            return "ended"

        with pytest.raises(Canceled):
            with scope:
                inside = asyncio.create_task(free())
                tasks = [asyncio.create_task(bound()) for _ in range(3)]
                await turns()
                scope.cancel()
                await forever()
        assert await asyncio.gather(inside, *tasks) == ["ended", *["canceled"] * 3]

    run(main)


def test_a_child_task_entered_below_a_foreign_block_hears_of_a_grandparents_end(
    run: Run,
) -> None:
    async def main() -> None:
        top = background().with_cancel()
        ctx: Context = top.with_cancel().with_value(NUMBER, 1).with_timeout(60.0)

        async def work() -> None:
            with ctx.with_timeout(30.0):
                await forever()

        task = asyncio.create_task(work())
        await turns()
        top.cancel()
        with pytest.raises(Canceled) as caught:
            await task
        assert caught.value.ctx is top

    run(main)


def test_a_deadline_that_is_not_the_nearest_needs_no_timer_and_still_holds(
    run: Run,
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            outer_caught = []
            outer = background().with_timeout(1.0)
            try:
                with outer:
                    with outer.with_timeout(5.0) as inner:
                        assert inner.remaining() == 1.0
                        loop = asyncio.get_running_loop()
                        assert len(state_of(loop).timers) == 1
                        asyncio.get_running_loop().call_soon(clock.advance, 1.0)
                        await forever()
            except DeadlineExceeded as exc:
                outer_caught.append(exc.ctx)
            assert outer_caught == [outer]

    run(main)


def test_keyboard_interrupt_goes_through_untouched(run: Run) -> None:
    async def main() -> str:
        scope = background().with_cancel()
        try:
            with scope:
                scope.cancel()
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            await undisturbed()
            return "passed"

    assert run(main) == "passed"
