"""Blocks begun for other code: made late, bound late, held and let go (`_behalf`)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.support import here, start
from tests.core.test_interrupt import forever, turns, undisturbed
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, Scope, background, current
from tether._behalf import begin, bind, hold, let_go
from tether._current import Pending, var
from tether.testing import VirtualClock

SITE = (here.__code__, 0)


def begun(
    parent: Context | None = None, since: float = 0.0, seconds: float | None = None
) -> Scope:
    return begin(parent or background(), since, seconds, "work", SITE)


def bind_here(scope: Scope, *, first: bool = True) -> None:
    task = asyncio.current_task()
    assert task is not None
    bind(scope, task.get_loop(), task, first=first)


def leave(scope: Scope, exc: BaseException | None = None) -> None:
    scope.__exit__(None if exc is None else type(exc), exc, None)


def test_its_time_counts_from_the_start() -> None:
    with VirtualClock() as clock:
        clock.advance(3.0)
        scope = begun(since=1.0, seconds=5.0)
        assert scope.deadline == 6.0
        clock.advance(3.0)
        error = scope.err()
        assert isinstance(error, DeadlineExceeded)
        assert error.detail.startswith("the 5 s budget set at core/support.py:")
        assert error.detail.endswith("ran out [work]")
        leave(scope)


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_below_what_is_over_it_is_over(seconds: float | None) -> None:
    parent = background().with_cancel()
    parent.cancel()
    scope = begun(parent, seconds=seconds)
    assert isinstance(scope.err(), Canceled)
    leave(scope)


def test_it_is_open_and_cannot_be_entered_again() -> None:
    scope = begun()
    with pytest.raises(RuntimeError, match="entered once"), scope:
        pass
    leave(scope)
    assert isinstance(scope.err(), Canceled)


def test_bound_late_it_interrupts_like_one_that_was_entered(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            scope = begun(seconds=1.0)
            bind_here(scope)
            asyncio.get_running_loop().call_soon(clock.advance, 1.0)
            with pytest.raises(DeadlineExceeded) as caught:
                try:
                    await forever()
                except asyncio.CancelledError as exc:
                    leave(scope, exc)
            assert caught.value.ctx is scope
            await undisturbed()

    run(main)


@pytest.mark.parametrize("late", ["deadline", "cancel", "parent"])
def test_what_ended_before_it_was_bound_interrupts(run: Run, late: str) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            parent = background().with_cancel()
            scope = begun(parent, seconds=1.0)
            if late == "deadline":
                clock.advance(1.0)
            (parent if late == "parent" else scope).cancel()
            bind_here(scope)
            with pytest.raises((Canceled, DeadlineExceeded)):
                try:
                    await forever()
                except asyncio.CancelledError as exc:
                    leave(scope, exc)
            parent.cancel()
            await undisturbed()

    run(main)


def test_it_is_bound_around_what_is_open_already(run: Run) -> None:
    async def main() -> None:
        scope = begun()
        with pytest.raises(Canceled) as caught:
            try:
                with scope.with_timeout(60.0), background().with_timeout(60.0):
                    bind_here(scope)
                    asyncio.get_running_loop().call_soon(scope.cancel)
                    await forever()
            except asyncio.CancelledError as exc:
                leave(scope, exc)
        assert caught.value.ctx is scope
        await undisturbed()

    run(main)


def test_a_shield_that_is_open_already_holds_against_it(run: Run) -> None:
    async def main() -> None:
        scope = begun()
        with pytest.raises(Canceled):
            try:
                with scope.without_cancel().with_timeout(60.0):
                    bind_here(scope)
                    scope.cancel()
                    await turns()
                await forever()
            except asyncio.CancelledError as exc:
                leave(scope, exc)
        await undisturbed()

    run(main)


def test_not_first_it_is_the_innermost(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as outside:
            scope = begun()
            bind_here(scope, first=False)
            scope.cancel()
            with pytest.raises(Canceled):
                try:
                    await forever()
                except asyncio.CancelledError as exc:
                    leave(scope, exc)
            await undisturbed()
            outside.check()

    run(main)


def test_it_can_be_bound_by_another_task(run: Run) -> None:
    async def main() -> None:
        scope = begun()

        async def work() -> None:
            try:
                await forever()
            except asyncio.CancelledError as exc:
                leave(scope, exc)

        task = asyncio.create_task(work())
        await turns()
        bind(scope, asyncio.get_running_loop(), task, first=True)
        scope.cancel()
        with pytest.raises(Canceled):
            await task

    run(main)


def test_bound_once_or_after_it_was_left_changes_nothing(run: Run) -> None:
    async def main() -> None:
        scope = begun()
        bind_here(scope)
        bind_here(scope)
        leave(scope)
        bind_here(scope)
        await undisturbed()

    run(main)


def test_held_it_interrupts_nothing_until_it_is_let_go(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(Canceled) as caught, background().with_cancel() as scope:
            hold(scope)
            assert current() is scope
            scope.cancel()
            await turns()
            with pytest.raises(Canceled):  # and is no block whose end one must wait for
                scope.check()
            let_go(scope)
            await forever()
        assert caught.value.ctx is scope
        await undisturbed()

    run(main)


def test_held_before_it_is_bound(run: Run) -> None:
    async def main() -> None:
        scope = begun()
        hold(scope)
        bind_here(scope)
        scope.cancel()
        await turns()
        let_go(scope)
        with pytest.raises(Canceled):
            try:
                await forever()
            except asyncio.CancelledError as exc:
                leave(scope, exc)
        await undisturbed()

    run(main)


def test_blocks_in_and_around_a_held_one_interrupt(run: Run) -> None:
    async def main() -> None:
        for of in (0, 2):
            scopes = [background().with_cancel() for _ in range(3)]
            with pytest.raises(Canceled) as caught:
                with scopes[0], scopes[1], scopes[2]:
                    hold(scopes[1])
                    scopes[of].cancel()
                    await forever()
            assert caught.value.ctx is scopes[of]
            await undisturbed()

    run(main)


def test_what_was_not_held_is_not_let_go(run: Run) -> None:
    async def main() -> None:
        scope = begun()
        let_go(scope)
        leave(scope)
        hold(scope)
        let_go(scope)
        assert scope.done()

    run(main)


class Lazy(Pending):
    def __init__(self) -> None:
        self.made: list[Scope] = []

    def _tether_context(self) -> Context:
        if not self.made:
            self.made.append(begun())
        return self.made[0]


def test_current_makes_what_is_pending(run: Run) -> None:
    async def main() -> None:
        outside = current()
        pending = Lazy()
        token = var.set(pending)
        with background().with_cancel() as other:
            assert current() is other
        assert not pending.made
        assert current() is pending.made[0]
        assert await asyncio.to_thread(current) is current()
        with current().with_cancel() as inner:
            assert current() is inner
        leave(pending.made[0])
        var.reset(token)
        assert current() is outside

    run(main)


def test_a_scope_can_be_begun_in_any_thread() -> None:
    def work() -> Any:
        scope = begun(since=0.0, seconds=1.0)
        leave(scope)
        return type(scope.err())

    assert start(work).result(10.0) is DeadlineExceeded
