"""Tasks: the waits that are awaited, interrupting, and the blocking forms refused."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, Key, background
from tether.testing import VirtualClock

MAKE: dict[str, Callable[[Context], Context]] = {
    "scope": lambda ctx: ctx,
    "value": lambda ctx: ctx.with_value(Key("k"), 1),
    "child": lambda ctx: ctx.with_timeout(3600.0),
    "wrapper": Wrapper,
    "below a wrapper": lambda ctx: Wrapper(ctx).with_cancel(),
}
each_kind = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- wait_async, sleep_async ---------------------------------------------------


@each_kind
def test_wait_ends_with_a_cancel(run: Run, make: Callable[[Context], Context]) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        ctx = make(scope)
        waiting = [asyncio.create_task(ctx.wait_async()) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in waiting)
        scope.cancel()
        assert await asyncio.gather(*waiting) == [True] * 3

    run(main)


@each_kind
def test_wait_ends_with_a_cancel_from_a_thread(
    run: Run, make: Callable[[Context], Context]
) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        waiting = asyncio.create_task(make(scope).wait_async())
        await turns()
        start(scope.cancel)
        assert await asyncio.wait_for(waiting, LONG)

    run(main)


@each_kind
def test_wait_ends_with_the_deadline(
    run: Run, make: Callable[[Context], Context]
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            ctx = make(background().with_timeout(5.0))
            waiting = asyncio.create_task(ctx.wait_async(60.0))
            await clock.advance_async(4.0)
            assert not waiting.done()
            await clock.advance_async(1.0)
            assert waiting.done()
            assert await waiting is True

    run(main)


def test_wait_for_at_most_so_long(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock, background().with_timeout(60.0) as scope:
            for ctx in (scope, background(), scope.without_cancel(), Own()):
                waiting = asyncio.create_task(ctx.wait_async(2.0))
                await clock.advance_async(1.5)
                assert not waiting.done()
                await clock.advance_async(0.5)
                assert waiting.done()
                assert await waiting is False

    run(main)


def test_waits_that_need_not_wait(run: Run) -> None:
    async def main() -> None:
        done = background().with_cancel()
        done.cancel()
        with background().with_cancel() as live:
            assert await live.wait_async(0.0) is False
            assert await live.wait_async(-1.0) is False
            assert await done.wait_async() is True
            await live.sleep_async(0.0)
            await live.sleep_async(-1.0)
            for seconds in (0.0, 5.0):
                with pytest.raises(Canceled):
                    await done.sleep_async(seconds)

    run(main)


def test_sleep_of_nothing_lets_the_others_run(run: Run) -> None:
    async def main() -> None:
        ran: list[int] = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        await background().sleep_async(0.0)
        assert ran == [1]

    run(main)


@each_kind
def test_sleep_raises_when_a_context_of_no_block_ends(
    run: Run, make: Callable[[Context], Context]
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            scope = background().with_timeout(5.0)
            other = background().with_cancel()
            ctx = make(scope)
            late = asyncio.create_task(ctx.sleep_async(10.0))
            stopped = asyncio.create_task(make(other).sleep_async(10.0))
            slept = asyncio.create_task(ctx.sleep_async(3.0))
            await clock.advance_async(3.0)
            await slept
            other.cancel(KeyError())
            with pytest.raises(Canceled) as canceled:
                await stopped
            assert isinstance(canceled.value.__cause__, KeyError)
            await clock.advance_async(2.0)
            with pytest.raises(DeadlineExceeded) as exceeded:
                await late
            assert exceeded.value.ctx is scope

    run(main)


def test_a_canceled_wait_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as parent:
            child = parent.with_timeout(60.0)
            waiting = [
                asyncio.create_task(child.wait_async()),
                asyncio.create_task(child.sleep_async(30.0)),
            ]
            await turns()
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            child.cancel()
            gone = weakref.ref(child)
            del child, waiting, task
            await turns()
            gc.collect()
            assert gone() is None

    run(main)


def test_a_wait_on_a_user_made_context(run: Run) -> None:
    async def main() -> None:
        own = Own()
        waiting = [
            asyncio.create_task(own.wait_async()),
            asyncio.create_task(own.with_cancel().with_value(Key("k"), 1).wait_async()),
        ]
        await turns()
        start(own.end, Canceled())
        assert await asyncio.wait_for(asyncio.gather(*waiting), LONG) == [True, True]

    run(main)


def test_waits_of_many_tasks_with_many_deadlines(run: Run) -> None:
    async def main() -> None:
        order: list[int] = []

        async def wait(number: int) -> None:
            ctx = background().with_timeout(1.0 + number * 7 % 20)
            assert await ctx.wait_async()
            order.append(number * 7 % 20)

        with VirtualClock() as clock:
            tasks = [asyncio.create_task(wait(number)) for number in range(20)]
            await clock.advance_async(30.0)
            await asyncio.gather(*tasks)
        assert order == sorted(order)

    run(main)


# -- blocking forms ------------------------------------------------------------


@pytest.mark.parametrize("name", ["wait", "sleep"])
def test_the_blocking_form_on_the_loops_thread_names_the_cure(
    run: Run, name: str
) -> None:
    async def main() -> None:
        with background().with_cancel() as ctx:
            for refused in (lambda: getattr(ctx, name)(0.0), lambda: call(ctx)):
                with pytest.raises(RuntimeError) as caught:
                    refused()
                assert f"use: await ctx.{name}_async()" in str(caught.value)
            assert not ctx.done()

    def call(ctx: Context) -> None:
        asyncio.get_running_loop()
        getattr(ctx, name)(5.0)

    run(main)


def test_interrupting_in_the_wrong_form_names_the_right_one(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as ctx:
            with pytest.raises(RuntimeError, match="async with"):
                with ctx.interrupting(print):
                    raise AssertionError

    run(main)
    with background().with_cancel() as ctx:
        entering = ctx.interrupting(print).__aenter__()
        with pytest.raises(RuntimeError, match="use: with"):
            entering.send(None)


def test_the_blocking_forms_work_in_a_thread_beside_the_loop(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        waiting = asyncio.create_task(asyncio.to_thread(scope.wait, LONG))
        await turns()
        scope.cancel()
        assert await waiting is True

    run(main)
