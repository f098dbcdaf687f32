"""to_thread: a function in a thread, awaited; what it hands over is not lost."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tests.core.test_fork import in_child
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Key,
    _threads,
    abandoned,
    background,
    current,
    to_thread,
)

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")


class Gate:
    """A function for a thread that ends when the test says so, not when ctx does."""

    def __init__(self, result: object = "done") -> None:
        self.result = result
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self, ctx: Context) -> object:
        self.inside.set()
        assert self.open.wait(LONG)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def entered(self) -> None:
        """Wait in a task until a thread is in it."""
        await asyncio.get_running_loop().run_in_executor(None, self.inside.wait, LONG)


async def turns(n: int = 5) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


# -- what it does ----------------------------------------------------------------


def test_it_returns_what_the_function_returns(run: Run) -> None:
    def add(ctx: Context, a: int, b: int = 10) -> tuple[int, bool]:
        return a + b, threading.current_thread() is threading.main_thread()

    async def main() -> None:
        assert await to_thread(background(), add, 1) == (11, False)
        assert await to_thread(background(), add, 1, 2) == (3, False)

    run(main)


@pytest.mark.parametrize("make", [lambda ctx: ctx, Wrapper], ids=["ours", "user"])
def test_the_function_is_given_the_context_and_it_is_current(
    run: Run, make: Callable[[Context], Context]
) -> None:
    async def main() -> None:
        with background().with_timeout(LONG) as outer:
            ctx = make(outer.with_value(Key("k"), 1))
            seen = await to_thread(ctx, lambda c: (c, current()))
            assert seen[0] is ctx
            assert seen[1] is ctx
            assert current() is outer

    run(main)


def test_the_variables_of_the_caller_are_there_and_what_is_set_stays_there(
    run: Run,
) -> None:
    def body(ctx: Context) -> str:
        before = NAME.get()
        NAME.set("thread")
        return before

    async def main() -> None:
        NAME.set("task")
        assert await to_thread(background(), body) == "task"
        assert await to_thread(background(), body) == "task"
        assert NAME.get() == "task"
        assert await to_thread(background(), lambda _: current()) is background()

    run(main)


def test_the_error_of_the_function_is_raised(run: Run) -> None:
    def fail(ctx: Context) -> None:
        raise KeyError("here")

    async def main() -> None:
        with pytest.raises(KeyError, match="here") as caught:
            await to_thread(background(), fail)
        # The traceback shows the line in the thread.
        assert "fail" in [entry.name for entry in caught.traceback]

    run(main)


def test_stop_iteration_does_not_hang_it(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await to_thread(background(), lambda _: next(iter(())))
        assert isinstance(caught.value.__cause__, StopIteration)

    run(main)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_goes_through_and_the_thread_serves_on(
    kind: type[BaseException],
) -> None:
    def fail(ctx: Context) -> None:
        raise kind

    async def main() -> None:
        await to_thread(background(), fail)

    with pytest.raises(kind):
        asyncio.run(main())
    assert asyncio.run(to_thread(background(), lambda _: 1)) == 1


def test_each_has_a_thread_at_once_however_many_there_are(run: Run) -> None:
    """Work that waits for other work is not queued behind it."""
    count = 100
    meeting = threading.Barrier(count)

    async def main() -> None:
        await asyncio.gather(
            *[
                to_thread(background(), lambda _: meeting.wait(LONG))
                for _ in range(count)
            ]
        )

    run(main)


def test_threads_are_used_again(run: Run) -> None:
    async def main() -> None:
        names = {
            await to_thread(background(), lambda _: threading.current_thread().name)
            for _ in range(50)
        }
        assert len(names) <= 2  # the next call may come before the thread is idle

    run(main)


def test_nothing_of_a_call_is_kept(run: Run) -> None:
    class Thing:
        pass

    kept: list[weakref.ref[Thing]] = []

    def body(ctx: Context, thing: Thing) -> Thing:
        kept.append(weakref.ref(thing))
        return thing

    def fail(ctx: Context, thing: Thing) -> None:
        kept.append(weakref.ref(thing))
        raise KeyError

    async def main() -> None:
        await to_thread(background(), body, Thing())
        with pytest.raises(KeyError):
            await to_thread(background(), fail, Thing())
        while _threads.busy():
            await asyncio.sleep(0)

    gc.disable()
    try:
        run(main)
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


def test_it_may_be_called_in_a_thread_of_its_own(run: Run) -> None:
    def body(ctx: Context) -> int:
        return asyncio.run(to_thread(ctx, lambda _: 7))

    async def main() -> None:
        assert await to_thread(background(), body) == 7

    run(main)


# -- bad input -------------------------------------------------------------------


async def coroutine(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((None, print), "takes a context, not None"),
        ((print, print), "takes a context"),
        ((background(), 7), "takes a function to call, not 7"),
        ((background(), coroutine), "is a coroutine function"),
        ((background(), functools.partial(coroutine)), "is a coroutine function"),
    ],
)
def test_wrong_arguments_are_refused(
    args: tuple[Any, ...], text: str, run: Run
) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=text):
            await to_thread(*args)

    run(main)


def test_nothing_is_started_under_a_context_that_is_over(run: Run) -> None:
    async def main() -> None:
        ran: list[int] = []
        ctx = background().with_cancel()
        ctx.cancel()
        with pytest.raises(Canceled):
            await to_thread(ctx, lambda _: ran.append(1))
        assert ran == []

    run(main)


def test_no_thread_to_be_had_is_an_error_and_nothing_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        while _threads.busy():
            await asyncio.sleep(0)
        monkeypatch.setattr(_threads, "_idle", deque())
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            await to_thread(background(), print)
        assert abandoned() == []

    before = {*_threads._workers}
    try:
        run(main)
    finally:
        monkeypatch.undo()
    assert {*_threads._workers} <= before


# -- interrupted -----------------------------------------------------------------


def test_a_function_that_notices_ends_the_wait_and_the_block_raises(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.02) as ctx:
                try:
                    await to_thread(ctx, lambda c: c.sleep(LONG))
                except DeadlineExceeded:
                    raise AssertionError("an inner handler has caught it") from None
        assert caught.value.ctx is ctx
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


def test_a_context_of_nobodys_block_is_raised_directly(run: Run) -> None:
    async def main() -> None:
        ctx = background().with_timeout(0.01)
        with pytest.raises(DeadlineExceeded) as caught:
            await to_thread(ctx, lambda c: c.sleep(LONG))
        assert caught.value.ctx is ctx

    run(main)


def test_a_result_is_returned_even_so_and_the_next_wait_is_interrupted(
    run: Run,
) -> None:
    steps: list[object] = []

    async def main() -> None:
        gate = Gate("a connection")
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                waiting = asyncio.ensure_future(opens(gate, ctx))
                steps.append(await to_thread(ctx, gate))
                steps.append("handed over")
                await asyncio.sleep(LONG)
                steps.append("never reached")
        await waiting
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def opens(gate: Gate, ctx: Any) -> None:
        await gate.entered()
        ctx.cancel()
        await turns()  # delivered, and taken back
        assert not steps
        gate.open.set()

    run(main)
    assert steps == ["a connection", "handed over"]


def test_a_block_that_is_left_with_the_result_is_left_normally(run: Run) -> None:
    async def main() -> None:
        gate = Gate(7)
        with background().with_cancel() as ctx:

            async def opens() -> None:
                await gate.entered()
                ctx.cancel()
                await turns()
                gate.open.set()

            waiting = asyncio.ensure_future(opens())
            got = await to_thread(ctx, gate)
        assert got == 7
        await asyncio.sleep(0.001)  # and nothing comes after it
        await waiting

    run(main)


def test_its_own_error_goes_before_the_end_of_the_block(run: Run) -> None:
    async def main() -> None:
        gate = Gate(KeyError("its own"))
        reached = False
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:

                async def opens() -> None:
                    await gate.entered()
                    ctx.cancel()
                    await turns()
                    gate.open.set()

                waiting = asyncio.ensure_future(opens())
                with pytest.raises(KeyError):
                    await to_thread(ctx, gate)
                reached = True
                await asyncio.sleep(LONG)
        assert reached
        await waiting

    run(main)


def test_a_foreign_cancel_waits_for_the_thread_and_is_raised_then(run: Run) -> None:
    async def main() -> None:
        gate = Gate()
        ended: list[bool] = []

        async def body() -> None:
            try:
                await to_thread(background(), gate)
            except asyncio.CancelledError as exc:
                ended.append(gate.open.is_set())
                assert "its result was dropped" in exc.__notes__[0]
                raise

        task = asyncio.create_task(body())
        await gate.entered()
        task.cancel()
        await turns()
        task.cancel()  # twice makes no difference
        await turns()
        assert not task.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 2
        assert ended == [True]

    run(main)


def test_an_error_goes_before_a_foreign_cancel(run: Run) -> None:
    async def main() -> None:
        gate = Gate(KeyError("not lost"))

        async def body() -> object:
            return await to_thread(background(), gate)

        task = asyncio.create_task(body())
        await gate.entered()
        task.cancel()
        await turns()
        gate.open.set()
        with pytest.raises(KeyError, match="not lost"):
            await task

    run(main)


def test_asyncio_timeout_around_it_waits_and_keeps_its_count(run: Run) -> None:
    async def main() -> None:
        gate = Gate()
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                started = asyncio.ensure_future(gate.entered())
                started.add_done_callback(lambda _: limit.reschedule(loop.time()))
                loop.call_later(0.02, gate.open.set)
                await to_thread(background(), gate)
        assert gate.open.is_set()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


def test_both_in_one_turn_is_a_foreign_cancel_which_passes_through(run: Run) -> None:
    async def main() -> None:
        gate = Gate()

        async def body() -> None:
            with background().with_cancel() as ctx:
                scopes.append(ctx)
                await to_thread(ctx, gate)

        scopes: list[Any] = []
        task = asyncio.create_task(body())
        await gate.entered()
        scopes[0].cancel()
        task.cancel()
        await turns()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    run(main)


def test_an_inner_block_and_the_outer_one_end_while_it_waits(run: Run) -> None:
    async def main() -> None:
        gate = Gate("both")
        got: list[object] = []
        with pytest.raises(Canceled) as caught:
            with background().with_cancel() as outer:
                with outer.with_cancel() as inner:

                    async def opens() -> None:
                        await gate.entered()
                        inner.cancel()
                        await turns()
                        outer.cancel()
                        await turns()
                        gate.open.set()

                    waiting = asyncio.ensure_future(opens())
                    got.append(await to_thread(inner, gate))
                    await asyncio.sleep(LONG)
        assert caught.value.ctx is outer
        assert got == ["both"]
        await waiting
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main)


def test_in_a_cleanup_after_an_interruption(run: Run) -> None:
    async def main() -> None:
        done: list[object] = []
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                asyncio.get_running_loop().call_soon(ctx.cancel)
                try:
                    await asyncio.sleep(LONG)
                finally:
                    last = ctx.without_cancel()
                    done.append(await to_thread(last, lambda _: "rolled back"))
        assert done == ["rolled back"]

    run(main)


def test_its_own_budget_is_its_own_error(run: Run) -> None:
    def body(ctx: Context) -> None:
        with ctx.with_timeout(0.01) as mine:
            mine.sleep(LONG)

    async def main() -> None:
        with background().with_timeout(LONG) as ctx:
            with pytest.raises(DeadlineExceeded):
                await to_thread(ctx, body)
            await asyncio.sleep(0)

    run(main)


def test_inside_anyio_it_holds_and_does_not_spin() -> None:
    """anyio repeats its cancel in each turn of the loop."""
    deliveries = 0
    got: list[object] = []

    async def main() -> None:
        nonlocal deliveries
        gate = Gate("kept")
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            task = asyncio.current_task()
            assert task is not None

            async def opens(waits: asyncio.Task[Any]) -> None:
                nonlocal deliveries
                await gate.entered()
                scope.cancel()
                before = waits.cancelling()
                await turns(50)
                deliveries = waits.cancelling() - before
                gate.open.set()

            waiting = loop.create_task(opens(task))
            got.append(await to_thread(background(), gate))
            await anyio.sleep(LONG)
            got.append("never reached")
        assert scope.cancelled_caught
        await waiting

    asyncio.run(main())
    assert got == ["kept"]
    assert deliveries == 0


# -- abandoned -------------------------------------------------------------------


@pytest.mark.parametrize("block", [True, False])
def test_abandon_leaves_at_once_and_the_thread_is_counted(
    run: Run, block: bool
) -> None:
    async def main() -> None:
        gate = Gate()
        ctx = background().with_cancel()

        async def opens() -> None:
            await gate.entered()
            ctx.cancel()

        waiting = asyncio.ensure_future(opens())
        with pytest.raises(Canceled):
            if block:
                with ctx:
                    await to_thread(ctx, gate, abandon=True)
            else:
                await to_thread(ctx, gate, abandon=True)
        (left,) = abandoned()
        assert left.name == "Gate()"
        assert left.ctx is ctx
        assert left.thread.is_alive()
        assert left.seconds >= 0.0
        await waiting
        gate.open.set()
        while abandoned():
            await asyncio.sleep(0)

    run(main)


def test_abandon_by_deadline_by_foreign_cancel_and_below_a_users_context(
    run: Run,
) -> None:
    async def main() -> None:
        gates = [Gate() for _ in range(3)]
        with pytest.raises(DeadlineExceeded):
            ctx = background().with_timeout(0.01)
            await to_thread(ctx, gates[0], abandon=True)
        task = asyncio.create_task(to_thread(background(), gates[1], abandon=True))
        await gates[1].entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        own = Own()
        asyncio.get_running_loop().call_later(0.01, own.end, KeyError("ended"))
        with pytest.raises(KeyError):
            await to_thread(own, gates[2], abandon=True)
        assert len(abandoned()) == 3
        for gate in gates:
            gate.open.set()
        while abandoned():
            await asyncio.sleep(0)

    run(main)


def test_abandon_that_is_not_needed_changes_nothing(run: Run) -> None:
    def fail(ctx: Context) -> None:
        raise KeyError

    async def main() -> None:
        with background().with_timeout(LONG) as ctx:
            assert await to_thread(ctx, lambda _: 7, abandon=True) == 7
            with pytest.raises(KeyError):
                await to_thread(ctx, fail, abandon=True)
        assert await to_thread(background(), lambda _: 7, abandon=True) == 7
        assert abandoned() == []

    run(main)


@pytest.mark.parametrize(
    ("error", "reported"),
    [(KeyError("late"), [KeyError]), (Canceled(), []), (SystemExit(3), [SystemExit])],
)
def test_what_an_abandoned_function_raises_is_reported(
    run: Run,
    error: BaseException,
    reported: list[type[BaseException]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[type[BaseException]] = []
    told = threading.Event()

    def hook(args: threading.ExceptHookArgs) -> None:
        seen.append(args.exc_type)
        told.set()

    monkeypatch.setattr(threading, "excepthook", hook)

    async def main() -> None:
        gate = Gate(error)
        task = asyncio.create_task(to_thread(background(), gate, abandon=True))
        await gate.entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.set()
        while _threads.busy():
            await asyncio.sleep(0)

    run(main)
    if reported:
        assert told.wait(LONG)
    assert seen == reported


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_a_loop_that_is_closed_meanwhile_harms_nobody() -> None:
    gate = Gate()
    loop = asyncio.new_event_loop()
    task = loop.create_task(to_thread(background(), gate))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert gate.inside.wait(LONG)
    loop.close()
    assert [one.name for one in abandoned()] == ["Gate()"]
    gate.open.set()
    while abandoned() or _threads.busy():
        pass
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert start(lambda: asyncio.run(to_thread(background(), lambda _: 1))).result(LONG)


@pytest.mark.stress
@pytest.mark.usefixtures("switching")
def test_no_result_is_lost_at_the_worst_moment(run: Run) -> None:
    """The scope ends at any point between the start and the end of the thread."""
    rounds = 300

    async def main() -> None:
        taken = put = 0

        def take(ctx: Context) -> int:
            nonlocal taken
            taken += 1
            return 1

        for n in range(rounds):
            try:
                with background().with_timeout(n * 1e-6) as ctx:
                    put += await to_thread(ctx, take)
                    await asyncio.sleep(0)
            except DeadlineExceeded:
                pass
        assert put == taken

    run(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_in_a_forked_child_it_has_threads_of_its_own() -> None:
    gate = Gate()
    warm = start(lambda: asyncio.run(to_thread(background(), gate)))
    assert gate.inside.wait(LONG)

    def body() -> None:
        assert abandoned() == []
        assert asyncio.run(to_thread(background(), lambda _: 7)) == 7

    in_child(body)
    gate.open.set()
    assert warm.result(LONG) == "done"
