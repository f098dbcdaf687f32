"""A released block stays open and interrupts its task no more (`_behalf`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.support import start
from tests.core.test_interrupt import forever, turns, undisturbed
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, Key, Scope, background, current
from tether._behalf import release
from tether.testing import VirtualClock

KEY: Key[int] = Key("key")


@pytest.mark.parametrize("before", [False, True], ids=["ended after", "ended before"])
def test_its_end_interrupts_nothing(run: Run, before: bool) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(1.0) as scope:
                if before:
                    clock.advance(1.0)
                    release(scope)
                else:
                    release(scope)
                    clock.advance(1.0)
                await turns()
                assert isinstance(scope.err(), DeadlineExceeded)
            await undisturbed()

    run(main)


def test_neither_does_the_end_of_what_it_was_derived_from(run: Run) -> None:
    async def main() -> None:
        service = background().with_cancel()
        with service.with_timeout(60.0) as scope:
            release(scope)
            service.cancel()
            await turns()
            assert isinstance(scope.err(), Canceled)
        await undisturbed()

    run(main)


def test_what_ends_outside_is_held_back_until_it_is_left(run: Run) -> None:
    async def main() -> None:
        passed = []
        outside = background().with_cancel()
        with pytest.raises(Canceled) as caught:
            with outside:
                with background().with_cancel() as scope:
                    release(scope)
                    outside.cancel()
                    await turns()
                    passed.append("inside")
                passed.append("left")
                await forever()
        assert caught.value.ctx is outside
        assert passed == ["inside", "left"]
        await undisturbed()

    run(main)


def test_blocks_that_are_open_inside_are_spared_its_end(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(1.0) as scope:
                with scope.with_timeout(5.0) as inner, inner.with_cancel() as innermost:
                    release(scope)
                    clock.advance(1.0)
                    await turns()
                    assert isinstance(innermost.err(), DeadlineExceeded)
            await undisturbed()

    run(main)


def test_their_own_end_still_interrupts(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(5.0) as scope:
                inner = scope.with_timeout(1.0)
                with pytest.raises(DeadlineExceeded) as caught:
                    with inner, inner.with_cancel():
                        release(scope)
                        clock.advance(1.0)
                        await forever()
                assert caught.value.ctx is inner
                clock.advance(5.0)
                await turns()
            await undisturbed()

    run(main)


def test_a_block_entered_later_is_like_any_other(run: Run) -> None:
    """Who derives from the scope itself asks for its end."""

    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_timeout(5.0) as scope:
                release(scope)
                with pytest.raises(DeadlineExceeded):
                    with scope.with_cancel():
                        clock.advance(5.0)
                        await forever()
                with pytest.raises(DeadlineExceeded):  # no interruption in its place
                    scope.check()
                with pytest.raises(DeadlineExceeded), scope.with_cancel():
                    raise AssertionError
                await turns()
            await undisturbed()

    run(main)


def test_current_is_its_values_without_its_end(run: Run) -> None:
    async def main() -> None:
        outside = current()
        ctx = background().with_value(KEY, 7)
        asked: list[Any] = []

        def ask() -> None:
            asked.append((current().deadline, current().done(), current().value(KEY)))

        with ctx.with_timeout(60.0, label="work") as scope:
            task = asyncio.create_task(elsewhere(ask))
            with scope.with_timeout(5.0) as inner:
                release(scope)
                assert current() is inner
            scope.cancel()
            ask()
            assert current().label == "work"
            with current().with_timeout(1.0) as later:
                assert current() is later
                await turns()
                assert not later.done()
            await task
            await asyncio.to_thread(ask)
        assert current() is outside
        assert asked == [(None, False, 7)] * 3

    async def elsewhere(ask: Any) -> None:
        await turns()
        ask()

    run(main)


def test_it_can_be_released_from_another_task(run: Run) -> None:
    async def main() -> None:
        entered = asyncio.Event()
        go_on = asyncio.Event()
        scope = background().with_cancel()

        async def handler() -> str:
            with scope, scope.with_cancel():
                entered.set()
                await go_on.wait()
            return "ended normally"

        task = asyncio.create_task(handler())
        await entered.wait()
        release(scope)
        scope.cancel()
        await turns()
        go_on.set()
        assert await task == "ended normally"

    run(main)


def test_an_interruption_that_is_on_its_way_becomes_its_error(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled) as caught, scope:
            try:
                await forever()
            finally:
                release(scope)
                await turns()
        assert caught.value.ctx is scope
        await undisturbed()

    run(main)


def test_a_foreign_cancel_passes_through_it(run: Run) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(asyncio.CancelledError):
            with background().with_cancel() as scope:
                release(scope)
                scope.cancel()
                asyncio.get_running_loop().call_soon(task.cancel)
                await forever()
        assert task.uncancel() == 0

    run(main)


@pytest.mark.parametrize("order", [0, 1])
def test_two_released_blocks_in_one_task(run: Run, order: int) -> None:
    async def main() -> None:
        with background().with_cancel() as outer:
            with background().with_cancel() as middle, outer.with_cancel() as inner:
                both = [outer, middle]
                release(both[order])
                release(both[1 - order])
                outer.cancel()
                middle.cancel()
                await turns()
                assert inner.done()
                with pytest.raises(Canceled), middle.with_cancel():
                    raise AssertionError
        await undisturbed()

    run(main)


def test_only_an_open_block_can_be_released(run: Run) -> None:
    def cycle(scope: Scope) -> None:
        outside = current()
        release(scope)
        with scope:
            assert current() is scope
        release(scope)
        assert current() is outside

    async def main() -> None:
        cycle(background().with_cancel())

    run(main)
    start(cycle, background().with_cancel()).result(10.0)


def test_nothing_is_kept_for_it(run: Run) -> None:
    async def main() -> None:
        from tether._interrupt import current_stack

        stack = None
        for _ in range(3):
            with background().with_timeout(60.0) as scope:
                stack = current_stack()
                with scope.with_cancel():
                    release(scope)
        assert stack is not None
        assert not (stack.blocks or stack._spared or stack.slow)

    run(main)
