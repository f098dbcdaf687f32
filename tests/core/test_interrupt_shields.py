"""Who may hold an interruption back, and how ours lives with those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.core.test_interrupt import forever, turns, undisturbed
from tether import Canceled, ContextError, DeadlineExceeded, background
from tether.testing import VirtualClock

Run = Callable[..., Any]


def test_a_block_that_came_through_without_cancel_shields_its_inside(run: Run) -> None:
    async def main() -> None:
        rolled_back = False
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled) as caught:
            with scope:
                with scope.without_cancel().with_timeout(60.0) as roll_back:
                    await turns()
                    assert scope.done()
                    roll_back.check()
                    await roll_back.sleep_async(0.0)
                    rolled_back = True
                await forever()  # what was held back arrives here
        assert rolled_back
        assert caught.value.ctx is scope
        await undisturbed()

    run(main)


def test_what_was_held_back_is_not_delivered_to_a_block_that_just_ends(
    run: Run,
) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with scope:
            with scope.without_cancel().with_timeout(60.0):
                await turns()
        await undisturbed()

    run(main)


def test_a_shielding_block_has_an_end_of_its_own(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with background().with_cancel() as scope:
                scope.cancel()
                shield = scope.without_cancel().with_timeout(1.0)
                asyncio.get_running_loop().call_soon(clock.advance, 1.0)
                with pytest.raises(DeadlineExceeded) as caught:
                    with shield:
                        with shield.with_cancel():
                            await forever()
                assert caught.value.ctx is shield
            await undisturbed()

    run(main)


def test_a_roll_back_that_runs_in_the_cleanup_of_an_interruption(run: Run) -> None:
    async def main() -> None:
        done = []
        outer = background().with_cancel()
        inner = outer.with_cancel()
        asyncio.get_running_loop().call_soon(inner.cancel)
        with pytest.raises(Canceled) as caught:
            with outer, inner:
                try:
                    await forever()
                finally:
                    with inner.without_cancel().with_timeout(60.0):
                        outer.cancel()  # another end, in the middle of it
                        await turns()
                        done.append("rolled back")
        assert done == ["rolled back"]
        assert caught.value.ctx is outer
        await undisturbed()

    run(main)


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("inside", [True, False])
def test_with_asyncio_timeout_ending_in_the_same_turn(
    run: Run, inside: bool, first: str
) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        scope = background().with_cancel()
        came = "nothing"
        theirs = asyncio.timeout(None)

        def both() -> None:
            if first == "ours":
                scope.cancel()
            theirs.reschedule(loop.time())
            scope.cancel()

        loop.call_soon(both)
        try:
            if inside:
                with scope:
                    async with theirs:
                        await forever()
            else:
                async with theirs:
                    with scope:
                        await forever()
        except ContextError:
            came = "ours"
        except TimeoutError:
            came = "theirs"
        await undisturbed()
        return came

    # Who comes second finds the other's cancel in hand, and the inner one has left its
    # block with an error by then, or passes on what is not its own.
    assert run(main) == ("ours" if inside and first == "ours" else "theirs")


def test_an_asyncio_timeout_inside_ends_alone(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as scope:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.001):
                    with scope.with_cancel():
                        await forever()
            assert not isinstance(caught.value, ContextError)
            await undisturbed()
            assert not scope.done()

    run(main)


def test_ours_ends_through_an_asyncio_timeout_that_has_time(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                async with asyncio.timeout(60.0):
                    await forever()
        await undisturbed()

    run(main)


def test_a_task_group_inside_stops_its_children_and_the_error_is_bare(
    run: Run,
) -> None:
    async def main() -> None:
        stopped = []

        async def child() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                stopped.append(1)
                raise

        scope = background().with_cancel()
        asyncio.get_running_loop().call_later(0.001, scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                async with asyncio.TaskGroup() as group:
                    group.create_task(child())
                    group.create_task(child())
        assert stopped == [1, 1]
        await undisturbed()

    run(main)


def test_a_task_group_outside_sees_an_ordinary_error(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()

        async def child() -> None:
            with scope:
                await forever()

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(forever())
                await turns(3)
                scope.cancel()
        assert [type(exc) for exc in caught.value.exceptions] == [Canceled]

    run(main)


@pytest.mark.parametrize("shape", ["scope", "group", "fail_after"])
def test_ours_ends_through_anyio_scopes_inside(run: Run, shape: str) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_later(0.001, scope.cancel)
        with pytest.raises(Canceled) as caught:
            with scope:
                if shape == "scope":
                    with anyio.CancelScope():
                        await anyio.sleep_forever()
                elif shape == "fail_after":
                    with anyio.fail_after(60.0):
                        await anyio.sleep_forever()
                else:
                    async with anyio.create_task_group() as group:
                        group.start_soon(anyio.sleep_forever)
                        await anyio.sleep_forever()
        assert caught.value.ctx is scope
        await undisturbed()

    run(main)


@pytest.mark.parametrize("shape", ["move_on_after", "group"])
def test_an_anyio_scope_outside_ends_through_ours(run: Run, shape: str) -> None:
    async def main() -> None:
        inner = background().with_cancel()
        if shape == "move_on_after":
            with anyio.move_on_after(0.001) as theirs:
                with inner:
                    await anyio.sleep_forever()
            assert theirs.cancelled_caught
        else:
            async with anyio.create_task_group() as group:
                group.cancel_scope.deadline = anyio.current_time() + 0.001
                with inner:
                    await anyio.sleep_forever()
        assert inner.done()
        await undisturbed()

    run(main)


@pytest.mark.parametrize("inside", [True, False])
def test_with_an_anyio_scope_ending_in_the_same_turn(run: Run, inside: bool) -> None:
    async def main() -> str:
        ours, theirs = background().with_cancel(), anyio.CancelScope()

        def both() -> None:
            ours.cancel()
            theirs.cancel()

        asyncio.get_running_loop().call_soon(both)
        came = "theirs"
        try:
            if inside:
                with ours, theirs:
                    await anyio.sleep_forever()
            else:
                with theirs, ours:
                    await anyio.sleep_forever()
        except Canceled:
            came = "ours"
        await undisturbed()
        return came

    assert run(main) == "theirs"  # cancels at once, and ours in the next turn


def test_an_anyio_shield_inside_our_block_holds(run: Run) -> None:
    async def main() -> None:
        shielded = False
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(0.005)
                    shielded = True
                await forever()
        assert shielded
        await undisturbed()

    run(main)


def test_a_block_inside_an_anyio_shield_is_not_held_back_by_it(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel)
        with anyio.CancelScope(shield=True):
            with pytest.raises(Canceled):
                with scope:
                    await forever()
        await undisturbed()

    run(main)


def test_a_shield_between_two_blocks_holds_back_the_outer_one_only(run: Run) -> None:
    async def main() -> None:
        outer, inner = background().with_cancel(), background().with_cancel()
        loop = asyncio.get_running_loop()
        loop.call_soon(outer.cancel)
        loop.call_soon(inner.cancel)
        seen = []
        with pytest.raises(Canceled) as caught:
            with outer:
                with anyio.CancelScope(shield=True):
                    try:
                        with inner:
                            await forever()
                    except Canceled as exc:
                        seen.append(exc.ctx)
                    await turns()
                await forever()
        assert seen == [inner]
        assert caught.value.ctx is outer
        await undisturbed()

    run(main)


def test_shielded_and_awaited_futures_of_asyncio(run: Run) -> None:
    async def main() -> None:
        finished = []

        async def precious() -> None:
            await turns()
            finished.append(1)

        scope = background().with_cancel()
        task = asyncio.ensure_future(precious())
        asyncio.get_running_loop().call_soon(scope.cancel)
        with pytest.raises(Canceled):
            with scope:
                await asyncio.shield(task)
        await task
        assert finished == [1]
        await undisturbed()

    run(main)
