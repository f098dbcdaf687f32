"""WaitGroup: independent outcomes, detached work, and the drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest

from tests.core.support import LONG, here, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Handle,
    Key,
    WaitGroup,
    background,
    current,
)
from tether.testing import VirtualClock

USER: Key[str] = Key("user")


class Boom(Exception):
    pass


async def give(ctx: Context, value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fail(ctx: Context, error: BaseException) -> int:
    await asyncio.sleep(0)
    raise error


async def forever(ctx: Context) -> None:
    await asyncio.sleep(LONG)


def blocked(ctx: Context) -> None:
    ctx.sleep(LONG)


# -- outcomes --------------------------------------------------------------------


def test_one_failure_leaves_the_others_alone(run: Run) -> None:
    one, two = Boom(1), Boom(2)

    def thread(ctx: Context) -> int:
        raise two

    async def main() -> None:
        async with WaitGroup() as group:
            group.go(give, 1)
            group.go(fail, one)
            group.go(give, 2)
            group.go(thread)
            group.go(give, 3)
        assert group.results == [1, 2, 3]
        assert group.errors == [one, two]
        assert [handle.name for handle in group.outcomes] == [
            *["give", "fail", "give"],
            thread.__qualname__,
            "give",
        ]

    run(main)


def test_each_piece_has_its_own_time(run: Run) -> None:
    def thread(ctx: Context) -> None:
        ctx.sleep(LONG)

    async def main() -> None:
        async with WaitGroup(timeout=0.005) as group:
            slow, quick = group.go(forever), group.go(give, 1)
            other = group.go(thread)
        for late in (slow, other):
            assert isinstance(late.error, DeadlineExceeded)
            assert "0.005 s budget" in late.error.detail
        assert quick.result() == 1

    run(main)


def test_the_time_of_a_piece_begins_when_it_starts() -> None:
    with VirtualClock() as clock:

        def piece(ctx: Context) -> float:
            left = ctx.remaining()
            background().sleep(3.0)
            return left

        group = WaitGroup(limit=1, timeout=5.0)
        handles = [group.go(piece)]
        queueing = start(lambda: handles.append(group.go(piece)))
        clock.advance(3.0)
        queueing.result(LONG)
        clock.advance(3.0)
        assert [handle.wait() for handle in handles] == [5.0, 5.0]


def test_an_end_from_above_cuts_the_rest_and_keeps_what_there_is(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.02) as budget:
                async with WaitGroup(budget) as group:
                    group.go(give, 1)
                    group.go(forever)
        assert caught.value.ctx is budget
        assert group.results == [1]
        assert isinstance(group.errors[0], DeadlineExceeded)

    run(main)


def test_a_body_that_fails_ends_the_work(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(Boom):
            async with WaitGroup() as group:
                task, thread = group.go(forever), group.go(blocked)
                await asyncio.sleep(0)
                raise Boom
        assert isinstance(task.error, Canceled)
        assert isinstance(thread.error, Canceled)

    run(main)


def test_a_foreign_cancel_ends_the_work_and_passes(run: Run) -> None:
    handles: list[Handle[Any]] = []

    async def owner() -> None:
        async with WaitGroup() as group:
            group.add()  # never done: not waited for after a cancel
            handles.append(group.go(forever))

    async def main() -> None:
        task = asyncio.ensure_future(owner())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(handles[0].error, Canceled)

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_goes_through(kind: type[BaseException]) -> None:
    def leave(ctx: Context) -> None:
        raise kind("now")

    with pytest.raises(kind):
        with WaitGroup() as group:
            other = group.go(blocked)
            group.go(leave)
    assert isinstance(other.error, Canceled)


# -- by hand ---------------------------------------------------------------------


def test_add_done_and_wait_between_threads() -> None:
    group = WaitGroup()
    group.add(2)
    waiting = [start(group.wait) for _ in range(3)]
    group.done()
    assert not any(one.done() for one in waiting)
    group.done()
    for one in waiting:
        one.result(LONG)


def test_a_wait_ends_with_its_context(run: Run) -> None:
    async def main() -> None:
        group = WaitGroup()
        group.add()
        over = background().with_cancel()
        over.cancel()
        with pytest.raises(Canceled):
            await asyncio.to_thread(group.wait, over)
        given = background().with_timeout(0.001)
        with pytest.raises(DeadlineExceeded):
            await group.wait_async(given)
        group.done()
        await group.wait_async(given)  # there is nothing to wait for

    run(main)


def test_it_is_used_again_after_a_wait(run: Run) -> None:
    async def main() -> None:
        group = WaitGroup()
        for number in range(3):
            handle = group.go(give, number)
            await group.wait_async()
            assert handle.result() == number
            assert not group.ctx.done()

    run(main)


# -- detached work -----------------------------------------------------------------


def test_detached_work_has_the_values_of_the_request_and_not_its_end(run: Run) -> None:
    seen: list[tuple[str | None, str, bool, float | None]] = []

    async def audit(ctx: Context) -> None:
        assert current() is ctx
        await asyncio.sleep(0.01)
        seen.append((ctx.value(USER), ctx.label, ctx.done(), ctx.deadline))

    def audit_in_thread(ctx: Context) -> None:
        ctx.sleep(0.01)
        seen.append((ctx.value(USER), ctx.label, ctx.done(), ctx.deadline))

    async def main() -> None:
        detached = WaitGroup(background())
        label = "POST /payments"
        with background().with_timeout(LONG, label=label) as request:
            ctx = request.with_value(USER, "ann")
            detached.go_with(ctx, audit)
            detached.go_with(ctx, audit_in_thread)
        assert await detached.drain_async(background()) == []

    run(main)
    assert seen == [("ann", "POST /payments", False, None)] * 2


def test_detached_work_ends_with_the_group(run: Run) -> None:
    async def main() -> None:
        service = background().with_cancel()
        detached = WaitGroup(service)
        with background().with_value(USER, "ann").with_cancel() as request:
            handle = detached.go_with(request, forever)
        await asyncio.sleep(0)
        service.cancel(Boom())
        with pytest.raises(Canceled) as caught:
            await handle.wait_async()
        assert isinstance(caught.value.__cause__, Boom)

    run(main)


def test_the_values_of_a_user_made_context_come_along(run: Run) -> None:
    from tests.core.support import Own

    async def look(ctx: Context) -> str | None:
        return ctx.value(USER)

    async def main() -> None:
        detached = WaitGroup()
        own = Own(background().with_value(USER, "bob"))
        handle = detached.go_with(own, look)
        assert await handle.wait_async() == "bob"
        own.end(Boom())
        assert await detached.go_with(own, look).wait_async() == "bob"

    run(main)


def test_a_block_around_the_request_does_not_interrupt_detached_work(run: Run) -> None:
    async def slow(ctx: Context) -> str:
        await asyncio.sleep(0.02)
        return "done"

    async def main() -> None:
        detached = WaitGroup(background())
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2) as request:
                handle = detached.go_with(request, slow)
                await asyncio.sleep(LONG)
        assert await handle.wait_async() == "done"

    run(main)


def test_load_is_shed_and_counted(run: Run) -> None:
    async def main() -> None:
        detached = WaitGroup(background(), limit=2)
        handles = [detached.try_go_with(background(), forever) for _ in range(5)]
        assert [handle is None for handle in handles] == [False] * 2 + [True] * 3
        assert detached.shed == 3
        assert detached.try_go(forever) is None
        assert detached.shed == 4
        with background().with_cancel() as now:
            now.cancel()
        assert await detached.drain_async(now) == ["forever", "forever"]
        await detached.wait_async()

    run(main)


def test_threads_and_loops_share_one_owner(run: Run) -> None:
    seen = []
    lock = threading.Lock()

    async def task(ctx: Context) -> None:
        await asyncio.sleep(0)
        with lock:
            seen.append("task")

    def thread(ctx: Context) -> None:
        with lock:
            seen.append("thread")

    detached = WaitGroup(background(), limit=4)

    def server() -> None:
        async def main() -> None:
            handles = [detached.go_with(background(), task) for _ in range(50)]
            for handle in handles:
                await handle.wait_async()

        run(main)

    def flask() -> None:
        for _ in range(50):
            detached.go_with(background(), thread)

    for one in [start(server), start(server), start(flask), start(flask)]:
        one.result(LONG)
    assert detached.drain(background()) == []
    assert sorted(seen) == ["task"] * 100 + ["thread"] * 100


# -- drain -------------------------------------------------------------------------


def test_drain_waits_and_takes_no_more(run: Run) -> None:
    async def main() -> None:
        detached = WaitGroup(background())
        handle = detached.go_with(background(), give, 1)
        assert await detached.drain_async(background()) == []
        assert handle.result() == 1
        with pytest.raises(RuntimeError, match="drained"):
            detached.go_with(background(), give, 2)

    run(main)


def test_drain_cancels_what_is_left_and_says_what_it_was(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    began = []

    async def polite(ctx: Context) -> None:
        began.append("polite")
        await asyncio.sleep(LONG)

    async def never(ctx: Context) -> None:
        began.append("never")

    async def main() -> None:
        detached = WaitGroup(background(), limit=2)
        running = [detached.go_with(background(), polite)]
        running.append(detached.go_with(background(), blocked))
        queued = detached.go_with(background(), never)
        starting = asyncio.ensure_future(queued.started())
        with background().with_timeout(0.01) as shutdown:
            left = await detached.drain_async(shutdown)  # is not interrupted
            names = ["polite", "blocked", "never"]
            assert [name.split(".")[-1] for name in left] == names
            await detached.wait_async()
        for handle in running:
            with pytest.raises(Canceled) as caught:
                handle.result()
            assert isinstance(caught.value.__cause__, DeadlineExceeded)
        with pytest.raises(Canceled, match="context canceled") as given_up:
            queued.result()
        assert "given up" in given_up.value.detail
        with pytest.raises(Canceled):
            await starting

    run(main)
    assert began == ["polite"]
    (record,) = [record for record in caplog.records if record.name == "tether"]
    assert record.levelno == logging.WARNING
    assert "3 still at work" in record.getMessage()


def test_an_end_of_an_outer_block_ends_the_drain_and_interrupts_what_comes_next(
    run: Run,
) -> None:
    async def main() -> None:
        detached = WaitGroup(background())
        detached.go_with(background(), forever)
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.2) as outer:
                with outer.with_timeout(LONG) as shutdown:
                    assert await detached.drain_async(shutdown) == ["forever"]
                    await asyncio.sleep(LONG)
        assert caught.value.ctx is outer
        await detached.wait_async()

    run(main)


def test_after_a_drain_that_was_in_time_the_block_is_interrupted_again(
    run: Run,
) -> None:
    async def main() -> None:
        detached = WaitGroup(background())
        detached.go_with(background(), give, 1)
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.01) as shutdown:
                assert await detached.drain_async(shutdown) == []
                await asyncio.sleep(LONG)

    run(main)


def test_drain_in_threads() -> None:
    with VirtualClock() as clock:
        detached = WaitGroup(background())
        handle = detached.go_with(background(), blocked)
        detached.add(2)
        grace = background().with_timeout(5.0)
        draining = start(detached.drain, grace)
        clock.advance(4.0)
        assert not draining.done()
        clock.advance(2.0)
        assert draining.result(LONG) == ["blocked", *["add() without done()"] * 2]
        assert isinstance(handle.error, Canceled)


def test_a_thread_that_waits_for_a_place_is_told_of_the_drain() -> None:
    detached = WaitGroup(background(), limit=1)
    go_on = threading.Event()
    detached.go_with(background(), lambda ctx: go_on.wait(LONG))
    with VirtualClock() as clock:
        waiting = start(detached.go_with, background(), blocked)
        clock.settle()
    over = background().with_timeout(0)
    assert len(detached.drain(over)) == 2
    with pytest.raises(RuntimeError, match="drained"):
        waiting.result(LONG)
    go_on.set()
    assert detached.drain(background()) == []


# -- failures that nobody asks for -------------------------------------------------


def test_a_failure_that_nobody_waits_for_is_logged_with_its_context(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        detached = WaitGroup(background())
        with background().with_cancel(label="POST /payments") as request:
            ctx = request.with_value(USER, "ann")
            detached.go_with(ctx, fail, Boom(here()))
        await detached.wait_async()

    run(main)
    (record,) = caplog.records
    assert record.name == "tether"
    assert record.levelno == logging.ERROR
    message = record.getMessage()
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, Boom)
    assert message.startswith(f"fail, started at {error} [POST /payments], failed")
    ctx = record.__dict__["ctx"]
    assert ctx.value(USER) == "ann"


@pytest.mark.parametrize("ask", ["result", "error", "wait", "errors"])
def test_a_failure_that_somebody_asks_for_is_not(
    run: Run, ask: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        group = WaitGroup(background())
        handle = group.go(fail, Boom())
        await group.wait_async()
        if ask == "errors":
            assert len(group.errors) == 1
        elif ask == "error":
            assert handle.error
        else:
            with pytest.raises(Boom):
                if ask == "wait":
                    await handle.wait_async()
                else:
                    handle.result()

    run(main)
    gc.collect()
    assert caplog.records == []


def test_what_the_drain_has_cut_is_not_logged_a_second_time(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        detached = WaitGroup(background())
        detached.go_with(background(), forever)
        await asyncio.sleep(0)
        over = background().with_timeout(0)
        assert await detached.drain_async(over) == ["forever"]
        # The loop ends, and cancels it once more.

    run_leaving(run, main)
    gc.collect()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def run_leaving(run: Run, main: Any) -> None:
    """As asyncio.run does it: what is left is canceled."""
    with asyncio.Runner(loop_factory=run.new_loop) as runner:
        runner.run(main())


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_work_that_dies_with_its_loop_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        detached.go_with(background(), forever)
        await asyncio.sleep(0)

    detached = WaitGroup(background())
    run_leaving(run, main)
    gc.collect()
    (record,) = caplog.records
    assert "forever" in record.getMessage()
    assert detached.drain(background()) == []
