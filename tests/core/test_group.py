"""Group in tasks: what it runs, what it raises, whom it interrupts."""

from __future__ import annotations

import asyncio
import gc
import threading
import traceback
import weakref
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from tests.core.support import LONG, Own
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Group,
    Handle,
    Key,
    background,
    current,
)
from tether.testing import VirtualClock

KEY: Key[str] = Key("key")


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


class Boom(Exception):
    pass


async def forever(ctx: Context) -> None:
    await asyncio.sleep(LONG)


async def fail(ctx: Context, error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def give(ctx: Context, value: object) -> object:
    await asyncio.sleep(0)
    return value


def blocked(ctx: Context) -> None:
    ctx.sleep(LONG)


# -- what runs where -------------------------------------------------------------


def test_coroutine_functions_are_tasks_and_plain_functions_threads(run: Run) -> None:
    async def task(ctx: Context) -> tuple[int, bool]:
        return threading.get_ident(), asyncio.current_task() is not None

    def thread(ctx: Context) -> int:
        return threading.get_ident()

    async def main() -> None:
        async with Group() as group:
            one, other = group.go(task), group.go(thread)
        assert one.result() == (threading.get_ident(), True)
        assert other.result() != threading.get_ident()

    run(main)


def test_arguments_are_passed_on_and_the_context_comes_first(run: Run) -> None:
    async def add(ctx: Context, one: int, /, *more: int, by: int = 1) -> int:
        assert isinstance(ctx, Context)
        return by * (one + sum(more))

    def shout(ctx: Context, word: str, *, times: int) -> str:
        return word.upper() * times

    async def main() -> None:
        async with Group() as group:
            first = group.go(add, 1, 2, 3, by=10)
            second = group.go(shout, "a", times=3)
        assert first.result() == 60
        assert second.result() == "AAA"

    run(main)


def test_the_context_of_a_piece_is_current_in_it_and_over_after_it(run: Run) -> None:
    seen: list[Context] = []

    async def look(ctx: Context) -> None:
        assert current() is ctx
        await asyncio.sleep(0)
        assert current() is ctx
        seen.append(ctx)

    def look_in_thread(ctx: Context) -> None:
        assert current() is ctx
        seen.append(ctx)

    async def main() -> None:
        with background().with_value(KEY, "v").with_cancel() as request:
            async with Group(request) as group:
                assert current() is group.ctx
                group.go(look)
                group.go(look_in_thread)
            assert current() is request
            assert len(seen) == 2
            for ctx in seen:
                assert ctx is not group.ctx
                assert ctx.value(KEY) == "v"
                assert ctx.done()
            assert group.ctx.done()
            assert not request.done()

    run(main)


def test_without_a_context_it_is_below_the_current_one(run: Run) -> None:
    async def main() -> None:
        with background().with_value(KEY, "v").with_timeout(LONG) as request:
            async with Group() as group:
                assert group.ctx.value(KEY) == "v"
                assert group.ctx.deadline == request.deadline

    run(main)


def test_context_variables_follow_into_tasks_and_threads(run: Run) -> None:
    var: ContextVar[str] = ContextVar("var", default="unset")

    async def task(ctx: Context) -> str:
        seen = var.get()
        var.set("changed by the task")
        return seen

    def thread(ctx: Context) -> str:
        seen = var.get()
        var.set("changed by the thread")
        return seen

    async def main() -> None:
        var.set("set")
        async with Group(limit=1) as group:  # the second has to wait
            handles = [group.go(task), group.go(thread), group.go(task)]
            var.set("later")
        assert [handle.result() for handle in handles] == ["set"] * 3
        assert var.get() == "later"

    run(main)


def test_children_start_although_the_context_is_done(run: Run) -> None:
    began = []

    async def task(ctx: Context) -> None:
        began.append(ctx.done())
        await asyncio.sleep(LONG)

    def thread(ctx: Context) -> None:
        began.append(ctx.done())

    async def main() -> None:
        over = background().with_timeout(0)
        async with Group(over) as group:
            group.go(task)
            group.go(thread)

    with pytest.raises(DeadlineExceeded):
        run(main)
    assert began == [True, True]


def test_a_child_may_start_more(run: Run) -> None:
    async def grow(ctx: Context, group: Group, depth: int) -> None:
        if depth:
            group.go(grow, group, depth - 1)
            group.go(grow_in_thread, group, 0)
        await asyncio.sleep(0)

    def grow_in_thread(ctx: Context, group: Group, depth: int) -> None:
        ran.append(depth)

    ran: list[int] = []

    async def main() -> None:
        async with Group() as group:
            group.go(grow, group, 3)

    run(main)
    assert ran == [0, 0, 0]


def test_children_that_start_children_before_they_wait_do_not_nest(run: Run) -> None:
    async def chain(ctx: Context, left: int) -> None:
        if left:
            group.go(chain, left - 1)

    async def main() -> None:
        nonlocal group
        async with Group() as group:
            handle = group.go(chain, 3000)
        handle.result()

    group = Group()
    run(main)


# -- the first error ---------------------------------------------------------------


def test_the_first_error_is_raised_bare_and_is_the_cause(run: Run) -> None:
    boom = Boom("first")

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            async with Group() as group:
                failed = group.go(fail, boom)
                task, thread = group.go(forever), group.go(blocked)
        assert caught.value is boom
        assert boom.__context__ is None
        assert boom.__cause__ is None
        assert group.error is boom
        assert group.errors == [boom]
        assert group.ctx.cause() is boom
        assert isinstance(group.ctx.err(), Canceled)
        assert failed.error is boom
        for ended in (task, thread):
            assert isinstance(ended.error, Canceled)
            assert ended.error.ctx is group.ctx
            assert ended.error.__cause__ is boom

    run(main)


def test_the_traceback_of_an_error_begins_in_the_users_function(run: Run) -> None:
    async def main() -> None:
        async with Group() as group:
            group.go(fail, Boom())

    with pytest.raises(Boom) as caught:
        run(main)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-1] == "fail"
    assert "_work_async" not in frames


def test_the_body_is_interrupted_too(run: Run) -> None:
    boom = Boom()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(Boom):
            async with Group() as group:
                group.go(fail, boom)
                try:
                    await asyncio.sleep(LONG)
                finally:
                    cleanup = await asyncio.sleep(0, "may await")
        assert cleanup == "may await"
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # nothing stray arrives

    run(main)


def test_later_errors_are_kept_and_noted_on_the_first(run: Run) -> None:
    first, second = Boom("first"), Boom("second")

    async def late(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise second

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            async with Group() as group:
                group.go(late)
                group.go(fail, first)
        assert caught.value is first
        assert group.errors == [first, second]
        (note,) = first.__notes__
        assert "late" in note
        assert "second" in note

    run(main)


def test_the_cause_raised_again_by_a_child_counts_once(run: Run) -> None:
    boom = Boom()

    async def echo(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cause = ctx.cause()
            assert cause is not None
            raise cause from None

    async def main() -> None:
        with pytest.raises(Boom):
            async with Group() as group:
                group.go(echo)
                group.go(fail, boom)
        assert group.errors == [boom]
        assert not hasattr(boom, "__notes__")

    run(main)


def test_a_child_that_ends_normally_after_the_end_has_its_result(run: Run) -> None:
    async def stubborn(ctx: Context) -> str:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            return "cleaned up"
        return "slept"

    async def main() -> None:
        with pytest.raises(Boom):
            async with Group() as group:
                handle = group.go(stubborn)
                group.go(fail, Boom())
        assert handle.result() == "cleaned up"

    run(main)


def test_a_thread_that_notices_the_end_of_the_group_is_no_error(run: Run) -> None:
    async def main() -> None:
        boom = Boom()
        with pytest.raises(Boom):
            async with Group() as group:
                thread = group.go(blocked)
                group.go(fail, boom)
        assert group.errors == [boom]
        with pytest.raises(Canceled):
            thread.result()

    run(main)


def test_an_error_from_a_thread_interrupts_the_tasks(run: Run) -> None:
    boom = Boom()

    def thread(ctx: Context) -> None:
        raise boom

    async def main() -> None:
        with pytest.raises(Boom):
            async with Group() as group:
                handle = group.go(forever)
                group.go(thread)
                await asyncio.sleep(LONG)
        assert isinstance(handle.error, Canceled)

    run(main)


def test_a_deadline_of_a_childs_own_is_its_error(run: Run) -> None:
    async def impatient(ctx: Context) -> None:
        with ctx.with_timeout(0.001):
            await asyncio.sleep(LONG)

    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            async with Group() as group:
                group.go(impatient)
                group.go(forever)
        assert group.error is caught.value
        assert group.ctx.cause() is caught.value

    run(main)


# -- ends from outside -------------------------------------------------------------


def test_a_deadline_above_ends_the_children_and_becomes_the_blocks_error(
    run: Run,
) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.2) as budget:
                with pytest.raises(asyncio.CancelledError):  # not the budget's error
                    async with Group(budget) as group:
                        task, thread = group.go(forever), group.go(blocked)
                raise asyncio.CancelledError
        assert caught.value.ctx is budget
        assert isinstance(task.error, DeadlineExceeded)
        assert isinstance(thread.error, DeadlineExceeded)

    run(main)


def test_an_inner_handler_does_not_claim_the_end_of_an_outer_block(run: Run) -> None:
    async def main() -> list[int]:
        rounds = []
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.01) as budget:
                while True:
                    rounds.append(1)
                    assert len(rounds) < 5
                    try:
                        async with Group(budget) as group:
                            group.go(forever)
                    except DeadlineExceeded:
                        continue
        assert caught.value.ctx is budget
        return rounds

    assert run(main) == [1]


def test_a_deadline_of_a_context_that_no_block_has_is_raised_by_the_group(
    run: Run,
) -> None:
    async def main() -> None:
        given = background().with_timeout(0.001)
        with pytest.raises(DeadlineExceeded) as caught:
            async with Group(given) as group:
                handle = group.go(forever)
        assert caught.value.ctx is given
        assert isinstance(handle.error, DeadlineExceeded)
        assert group.errors == []

    run(main)


def test_work_that_is_done_in_spite_of_the_end_is_no_error(run: Run) -> None:
    async def deaf(ctx: Context) -> str:
        with background().without_cancel().with_cancel():
            await asyncio.sleep(0.01)
        return "done"

    async def main() -> None:
        given = background().with_timeout(0.001)
        async with Group(given) as group:
            handle = group.go(deaf)
        assert given.done()
        assert handle.result() == "done"

    run(main)


def test_an_error_of_a_child_wins_over_the_interruption_of_its_owner(run: Run) -> None:
    boom = Boom()

    async def cleanup_fails(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise boom

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(Boom) as caught:
            with background().with_timeout(0.2) as budget:
                async with Group(budget) as group:
                    group.go(cleanup_fails)
        assert caught.value is boom
        assert boom.__context__ is None or not isinstance(
            boom.__context__, DeadlineExceeded
        )
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_a_foreign_cancel_ends_the_children_and_passes_through(run: Run) -> None:
    ended = []

    async def child(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0)
            ended.append(ctx.err())

    async def owner() -> None:
        async with Group() as group:
            group.go(child)
            group.go(blocked)

    async def main() -> None:
        task = asyncio.ensure_future(owner())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel("by hand")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1

    run(main)
    assert isinstance(ended[0], Canceled)


def test_a_foreign_cancel_passes_even_when_a_child_fails_meanwhile(run: Run) -> None:
    groups = []

    async def bad_cleanup(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise Boom

    async def owner() -> None:
        async with Group() as group:
            groups.append(group)
            group.go(bad_cleanup)
            await asyncio.sleep(LONG)

    async def main() -> None:
        task = asyncio.ensure_future(owner())
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert isinstance(groups[0].error, Boom)


def test_a_foreign_cancel_of_a_child_is_an_error(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(Canceled) as caught:
            async with Group() as group:
                handle = group.go(forever)
                other = group.go(forever)
                await asyncio.sleep(0)
                (task,) = [
                    task
                    for task in asyncio.all_tasks()
                    if handle._task is task  # as somebody who looks for it finds it
                ]
                task.cancel()
                await asyncio.sleep(LONG)
        assert "forever" in caught.value.detail
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
        assert group.error is caught.value
        assert handle.error is caught.value
        assert isinstance(other.error, Canceled)
        assert task.cancelled()

    run(main)


def test_a_child_that_is_canceled_before_its_first_step_is_not_lost(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(Canceled):
            async with Group() as group:
                group.go(forever)
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
        assert len(group.errors) == 1

    run(main)


def test_a_body_that_fails_ends_the_children_and_keeps_its_error(run: Run) -> None:
    boom = Boom()

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            async with Group() as group:
                task, thread = group.go(forever), group.go(blocked)
                await asyncio.sleep(0)
                raise boom
        assert caught.value is boom
        assert group.errors == []
        assert isinstance(task.error, Canceled)
        assert isinstance(thread.error, Canceled)

    run(main)


def test_a_body_that_fails_first_keeps_its_error_and_has_the_childrens_noted(
    run: Run,
) -> None:
    body, child = Boom("body"), Boom("child")

    async def bad_cleanup(ctx: Context) -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise child

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            async with Group() as group:
                group.go(bad_cleanup)
                await asyncio.sleep(0)
                raise body
        assert caught.value is body
        assert group.errors == [child]
        assert "child" in body.__notes__[0]

    run(main)


def test_a_body_that_fails_after_a_child_has_the_childs_error_raised(run: Run) -> None:
    body, child = Boom("body"), Boom("child")

    async def main() -> None:
        with pytest.raises(Boom) as caught:
            async with Group() as group:
                group.go(fail, child)
                try:
                    await asyncio.sleep(LONG)
                finally:
                    raise body
        assert caught.value is child
        assert child.__context__ is body

    run(main)


def test_a_group_that_is_left_early_waits_for_its_work(run: Run) -> None:
    async def main() -> str:
        async def go_home() -> str:
            async with Group() as group:
                handles.append(group.go(give, "work"))
                return "home"
            return "never"

        return await go_home()

    handles: list[Handle[object]] = []
    assert run(main) == "home"
    assert handles[0].result() == "work"


def test_a_user_made_context_above_ends_the_children(run: Run) -> None:
    async def main() -> None:
        own = Own()
        with pytest.raises(Boom):
            async with Group(own) as group:
                handle = group.go(forever)
                await asyncio.sleep(0)
                own.end(Boom())
                await asyncio.sleep(LONG)
        assert isinstance(handle.error, Boom)

    run(main)


# -- in other people's scopes ----------------------------------------------------


def test_inside_asyncio_timeout(run: Run) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.001):
                async with Group() as group:
                    handle = group.go(forever)
        assert not isinstance(caught.value, ContextError)
        assert isinstance(handle.error, Canceled)
        assert task.cancelling() == 0

    run(main)


def test_asyncio_timeout_inside_a_child(run: Run) -> None:
    async def child(ctx: Context) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(LONG)
        except TimeoutError:
            return "timed out"
        return "slept"

    async def main() -> None:
        async with Group() as group:
            handle = group.go(child)
        assert handle.result() == "timed out"

    run(main)


def test_a_taskgroup_around_and_inside(run: Run) -> None:
    async def child(ctx: Context) -> None:
        async with asyncio.TaskGroup() as inner:
            inner.create_task(asyncio.sleep(LONG))
            inner.create_task(asyncio.sleep(LONG))

    async def owner() -> None:
        async with Group() as group:
            group.go(child)
            group.go(fail, Boom())

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(owner())
                outer.create_task(asyncio.sleep(LONG))
        (error,) = caught.value.exceptions
        assert isinstance(error, Boom)

    run(main)


def test_anyio_scopes_around_and_inside(run: Run) -> None:
    import anyio

    async def child(ctx: Context) -> bool:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(LONG)
        return scope.cancelled_caught

    async def main() -> None:
        with anyio.move_on_after(0.02) as scope:
            async with Group() as group:
                handle = group.go(child)
                other = group.go(forever)
        assert scope.cancelled_caught
        assert handle.result()
        assert isinstance(other.error, Canceled)
        async with anyio.create_task_group() as outer:
            with pytest.raises(Boom):
                async with Group() as group:
                    group.go(fail, Boom())
                    await anyio.sleep(LONG)
            outer.cancel_scope.cancel()

    run(main)


def test_groups_nest_and_each_keeps_its_error(run: Run) -> None:
    boom = Boom()

    async def inner(ctx: Context) -> str:
        with pytest.raises(Boom):
            async with Group(ctx) as group:
                group.go(fail, boom)
                group.go(forever)
        return "caught"

    async def main() -> None:
        async with Group() as group:
            handle = group.go(inner)
            other = group.go(give, 1)
        assert handle.result() == "caught"
        assert other.result() == 1

    run(main)


def test_a_shield_around_the_group_holds(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2) as budget:
                async with Group(budget.without_cancel()) as group:
                    handle = group.go(give_later, "rolled back")
                assert budget.done()
                await asyncio.sleep(LONG)  # what was held back is delivered here
        assert handle.result() == "rolled back"

    async def give_later(ctx: Context, value: str) -> str:
        await asyncio.sleep(0.3)  # longer than the budget
        return value

    run(main)


# -- exits ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_thread_ends_the_group_and_goes_through(
    run: Run, kind: type[BaseException]
) -> None:
    def leave(ctx: Context) -> None:
        raise kind("now")

    async def main() -> None:
        async with Group() as group:
            handles.append(group.go(forever))
            group.go(leave)
            await asyncio.sleep(LONG)

    handles: list[Handle[None]] = []
    with pytest.raises(kind):
        run(main)
    assert isinstance(handles[0].error, Canceled)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_task_goes_through(run: Run, kind: type[BaseException]) -> None:
    async def leave(ctx: Context) -> None:
        await asyncio.sleep(0)
        raise kind("now")

    ended = []

    async def main() -> None:
        try:
            async with Group() as group:
                group.go(leave)
                await asyncio.sleep(LONG)
        except BaseException as exc:
            ended.append(type(exc))
            raise

    with pytest.raises(kind):
        run(main)
    assert ended == [kind]


# -- memory ----------------------------------------------------------------------


def test_a_group_leaves_no_cycle_and_keeps_no_results(run: Run) -> None:
    class Big:
        pass

    async def make(ctx: Context) -> Big:
        await asyncio.sleep(0)
        return Big()

    def make_in_thread(ctx: Context) -> Big:
        return Big()

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            async with Group() as group:
                group.go(make)
                group.go(make_in_thread)
                handle = group.go(make)
            big = weakref.ref(handle.result())
            whole = weakref.ref(group)
            gone = [o for o in gc.get_objects() if isinstance(o, Big)]
            assert len(gone) == 1
            del gone, handle
            assert big() is None
            del group
            assert whole() is None
        finally:
            gc.enable()

    run(main)


def test_an_error_that_nobody_waited_for_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        group = Group()
        group.go(fail, Boom())
        for _ in range(5):
            await asyncio.sleep(0)

    run(main)
    gc.collect()
    (record,) = caplog.records
    assert "fail" in record.getMessage()
    assert "nobody asked" in record.getMessage()
