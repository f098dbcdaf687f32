"""Bad input to groups: an error at the call that says the cure, and nothing broken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.support import LONG
from tests.loops import Run
from tether import Context, Group, Handle, WaitGroup, background

KINDS: list[Any] = [Group, WaitGroup]


async def task(ctx: Context) -> int:
    return 1


def thread(ctx: Context) -> int:
    return 1


@pytest.fixture(params=KINDS, ids=["Group", "WaitGroup"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def still_works(group: Any) -> None:
    assert group.go(thread).wait() == 1
    group.wait()


@pytest.mark.parametrize("fn", [None, 7, "thread", object()])
def test_what_cannot_be_called(kind: Any, fn: Any) -> None:
    group = kind()
    for go in (group.go, group.try_go):
        with pytest.raises(TypeError, match=r"go\(fetch, 7\)"):
            go(fn)
    still_works(group)


def test_a_coroutine_instead_of_its_function(kind: Any, run: Run) -> None:
    async def main() -> None:
        async with kind() as group:
            with pytest.raises(TypeError, match=r"go\(fetch, 7\)"):
                group.go(task(background()))

    run(main)


@pytest.mark.parametrize("limit", [1.0, "3", True, False, object(), [1]])
def test_a_limit_that_is_no_integer(kind: Any, limit: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        kind(limit=limit)
    group = kind(limit=2)
    with pytest.raises(TypeError, match="whole number"):
        group.set_limit(limit)
    still_works(group)


@pytest.mark.parametrize("ctx", ["ctx", 7, Context, object()])
def test_what_is_no_context(kind: Any, ctx: Any) -> None:
    with pytest.raises(TypeError, match="takes a context"):
        kind(ctx)
    group = WaitGroup()
    wrong: Any
    for wrong in (ctx, None):
        with pytest.raises(TypeError, match="takes a context"):
            group.go_with(wrong, thread)
        with pytest.raises(TypeError, match="takes a context"):
            group.try_go_with(wrong, thread)
        with pytest.raises(TypeError, match="takes a context"):
            group.drain(wrong)
    still_works(group)


@pytest.mark.parametrize("timeout", ["1", float("nan"), object()])
def test_a_timeout_that_is_no_number(timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout"):
        WaitGroup(timeout=timeout)


def test_done_beyond_add() -> None:
    group = WaitGroup()
    with pytest.raises(ValueError, match="negative WaitGroup counter"):
        group.done()
    group.add(2)
    group.done()
    with pytest.raises(ValueError, match="negative WaitGroup counter"):
        group.add(-2)
    group.done()
    with pytest.raises(ValueError, match="negative"):
        group.done()
    still_works(group)


def test_done_does_not_take_the_place_of_work() -> None:
    group = WaitGroup()
    handle = group.go(lambda ctx: ctx.sleep(0.01))
    with pytest.raises(ValueError, match="negative"):
        group.done()
    group.wait()
    assert handle.done()


@pytest.mark.parametrize("n", [1.0, "1", True, None])
def test_add_takes_whole_numbers(n: Any) -> None:
    group = WaitGroup()
    with pytest.raises(TypeError, match="whole number"):
        group.add(n)
    still_works(group)


def test_a_coroutine_function_in_a_plain_with(kind: Any) -> None:
    with kind() as group:
        with pytest.raises(RuntimeError, match="async with"):
            group.go(task)
        handle = group.go(thread)
    assert handle.result() == 1


def test_a_coroutine_function_where_no_loop_runs(kind: Any) -> None:
    group = kind()
    with pytest.raises(RuntimeError, match="no event loop"):
        group.go(task)
    still_works(group)


def test_a_plain_function_that_returns_a_coroutine() -> None:
    def looks_plain(ctx: Context) -> Any:
        return task(ctx)

    with pytest.raises(TypeError, match="async def"):
        with Group() as group:
            group.go(looks_plain)


def test_a_plain_with_on_the_thread_of_a_loop(kind: Any, run: Run) -> None:
    async def main() -> None:
        group = kind()
        with pytest.raises(RuntimeError, match="async with"):
            with group:
                pass
        async with group:  # it was not entered
            handle = group.go(task)
        assert handle.result() == 1

    run(main)


def test_blocking_waits_on_the_thread_of_a_loop(kind: Any, run: Run) -> None:
    async def main() -> None:
        async with kind() as group:
            handle = group.go(task)
            with pytest.raises(RuntimeError, match="wait_async"):
                group.wait()
            with pytest.raises(RuntimeError, match="wait_async"):
                handle.wait()
            if isinstance(group, WaitGroup):
                with pytest.raises(RuntimeError, match="drain_async"):
                    group.drain(background())

    run(main)


def test_async_with_outside_of_a_task(kind: Any) -> None:
    group = kind()
    with pytest.raises(RuntimeError, match="use: with"):
        group.__aenter__().send(None)
    with group:
        group.go(thread)


def test_entered_twice(kind: Any, run: Run) -> None:
    async def main() -> None:
        async with kind() as group:
            with pytest.raises(RuntimeError, match="once"):
                async with group:
                    pass
            handle = group.go(task)
        assert handle.result() == 1

    run(main)
    with kind() as group:
        with pytest.raises(RuntimeError, match="once"):
            with group:
                pass


def test_used_after_its_block(kind: Any) -> None:
    with kind() as group:
        handle = group.go(thread)
    for use in (
        lambda: group.go(thread),
        lambda: group.try_go(thread),
        lambda: group.set_limit(3),
        lambda: group.__enter__(),
    ):
        with pytest.raises(RuntimeError, match="block was left"):
            use()
    group.wait()  # nothing to wait for is no error
    assert handle.result() == 1


def test_used_after_a_drain() -> None:
    group = WaitGroup()
    group.drain(background())
    for use in (
        lambda: group.go_with(background(), thread),
        lambda: group.try_go_with(background(), thread),
        lambda: group.add(1),
    ):
        with pytest.raises(RuntimeError, match="drained"):
            use()
    assert group.drain(background()) == []


def test_a_piece_that_waits_for_its_own_group(kind: Any, run: Run) -> None:
    async def wait(ctx: Context, group: Any) -> None:
        with ctx.with_cancel():
            await group.wait_async()

    def wait_in_thread(ctx: Context, group: Any) -> None:
        group.wait()

    async def main() -> None:
        with background().with_timeout(LONG) as soon:
            for fn in (wait, wait_in_thread):
                group = kind()
                handle = group.go(fn, group)
                with pytest.raises(RuntimeError, match="wait for itself"):
                    await handle.wait_async(soon)

    run(main)


def test_a_handle_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match="go"):
        Handle()


def test_a_result_that_is_asked_for_too_early(run: Run) -> None:
    async def main() -> None:
        async with Group(limit=1) as group:
            running, queued = group.go(later), group.go(later)
            for handle, state in ((running, "running"), (queued, "queued")):
                with pytest.raises(RuntimeError, match=f"later is still {state}"):
                    handle.result()
                assert handle.error is None
                assert not handle.done()
        assert running.result() == queued.result() == 5

    async def later(ctx: Context) -> int:
        await asyncio.sleep(0)
        return 5

    run(main)
