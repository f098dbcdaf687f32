"""wait_for: something that will happen, or the end of the context."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future

import pytest

import tether
from tests.core.sides import Play, Side
from tests.core.support import LONG, Own, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Signal,
    background,
    wait_for,
    wait_for_async,
)

BG = background()


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- in threads and in tasks ---------------------------------------------------


def test_the_result_of_a_future(play: Play) -> None:
    async def test(side: Side) -> None:
        future: Future[str] = Future()
        waiting = [await side.call(tether, "wait_for", BG, future) for _ in range(3)]
        assert not any(one.done() for one in waiting)
        future.set_result("done")
        await side.settle()
        assert [one.result() for one in waiting] == ["done"] * 3
        assert (await side.call(tether, "wait_for", BG, future)).result() == "done"

    play(test)


def test_the_error_of_a_future(play: Play) -> None:
    async def test(side: Side) -> None:
        failed: Future[str] = Future()
        waiting = await side.call(tether, "wait_for", BG, failed)
        failed.set_exception(KeyError("x"))
        await side.settle()
        assert isinstance(waiting.exception(), KeyError)
        canceled: Future[str] = Future()
        waiting = await side.call(tether, "wait_for", BG, canceled)
        canceled.cancel()
        await side.settle()
        assert isinstance(waiting.exception(), CancelledError)

    play(test)


def test_a_signal_and_the_end_of_another_context(play: Play) -> None:
    async def test(side: Side) -> None:
        signal, other = Signal(), BG.with_timeout(5.0)
        first = await side.call(tether, "wait_for", BG, signal)
        second = await side.call(tether, "wait_for", BG, other.done_signal())
        signal.set()
        await side.settle()
        assert first.result() is None
        assert not second.done()
        await side.advance(5.0)
        assert second.result() is None
        assert (await side.call(tether, "wait_for", BG, signal)).result() is None

    play(test)


def test_when_the_context_ends_first_the_future_is_left_alone(play: Play) -> None:
    async def test(side: Side) -> None:
        future: Future[int] = Future()
        scope = BG.with_cancel()
        first = await side.call(tether, "wait_for", BG.with_timeout(1.0), future)
        second = await side.call(tether, "wait_for", scope, future)
        third = await side.call(tether, "wait_for", BG, future)
        await side.advance(1.0)
        assert isinstance(first.exception(), DeadlineExceeded)
        scope.cancel()
        await side.settle()
        assert isinstance(second.exception(), Canceled)
        assert not future.done()
        assert not third.done()
        future.set_result(1)
        await side.settle()
        assert third.result() == 1

    play(test)


def test_under_a_context_that_is_over_even_what_is_done_is_not_had(play: Play) -> None:
    async def test(side: Side) -> None:
        done: Future[int] = Future()
        done.set_result(1)
        over = BG.with_cancel()
        over.cancel()
        waiting = await side.call(tether, "wait_for", over, done)
        assert isinstance(waiting.exception(), Canceled)

    play(test)


def test_many_short_waits_leave_nothing_on_a_long_future(play: Play) -> None:
    async def test(side: Side) -> None:
        future: Future[int] = Future()
        signal = Signal()
        for _ in range(20):
            for what in (future, signal):
                scope = BG.with_cancel()
                waiting = await side.call(tether, "wait_for", scope, what)
                scope.cancel()
                await side.settle()
                assert isinstance(waiting.exception(), Canceled)
        assert len(future._done_callbacks) == 1  # type: ignore[attr-defined]
        assert not signal._callbacks
        gone = weakref.ref(future)
        del future, waiting, what
        gc.collect()
        assert gone() is None

    play(test)


# -- in tasks ------------------------------------------------------------------


def test_futures_and_tasks_of_the_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        waiting = asyncio.create_task(wait_for_async(BG, future))
        await turns()
        future.set_result(1)
        assert await waiting == 1

        async def fail() -> int:
            await turns(3)
            raise KeyError("x")

        with pytest.raises(KeyError):
            await wait_for_async(BG, asyncio.create_task(fail()))
        endless = asyncio.create_task(asyncio.sleep(LONG))
        with pytest.raises(DeadlineExceeded):
            await wait_for_async(BG.with_timeout(0.001), endless)
        await turns()
        assert not endless.done()
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait_for_async(BG, endless)

    run(main)


def test_a_waiter_that_is_canceled_leaves_the_future_alone(run: Run) -> None:
    async def main() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        for _ in range(5):
            waiting = asyncio.create_task(wait_for_async(BG, future))
            await turns()
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
        assert not future.done()
        future.set_result(1)
        assert await wait_for_async(BG, future) == 1

    run(main)


def test_a_coroutine_is_awaited_here_and_interrupted(run: Run) -> None:
    async def main() -> None:
        cleaned: list[int] = []

        async def work(seconds: float) -> str:
            try:
                await asyncio.sleep(seconds)
            finally:
                cleaned.append(1)
            return "done"

        assert await wait_for_async(BG, work(0)) == "done"
        with pytest.raises(DeadlineExceeded):
            await wait_for_async(BG.with_timeout(0.001), work(LONG))
        assert len(cleaned) == 2
        over = BG.with_cancel()
        over.cancel()
        with pytest.raises(Canceled):
            await wait_for_async(over, work(0))  # and is not "never awaited"
        assert len(cleaned) == 2

    run(main)


def test_an_event_of_asyncio(run: Run) -> None:
    async def main() -> None:
        event = asyncio.Event()
        waiting = asyncio.create_task(wait_for_async(BG, event))
        with pytest.raises(DeadlineExceeded):
            await wait_for_async(BG.with_timeout(0.001), event)
        assert not waiting.done()
        event.set()
        assert await waiting is None

    run(main)


def test_an_end_of_an_enclosing_block_is_raised_as_its_interruption(run: Run) -> None:
    async def main() -> None:
        attempts = 0
        future: Future[int] = Future()
        with pytest.raises(DeadlineExceeded):
            with BG.with_timeout(0.01) as outer:
                while True:
                    attempts += 1
                    try:
                        await wait_for_async(outer.with_timeout(LONG), future)
                    except DeadlineExceeded:
                        continue
        assert attempts == 1

    run(main)


# -- bad input -----------------------------------------------------------------


@pytest.mark.parametrize("what", [None, 1, "x", threading.Lock()], ids=repr)
def test_what_cannot_be_waited_for_is_refused(what: Signal) -> None:
    with pytest.raises(TypeError, match=r"wait_for cannot wait for .*Future or a"):
        wait_for(BG, what)
    with pytest.raises(TypeError, match="wait_for_async cannot wait for"):
        wait_for_async(BG, what).send(None)


def test_a_threading_event_is_refused_and_signal_named() -> None:
    event: object = threading.Event()
    for refused in (
        lambda: wait_for(BG, event),  # type: ignore[call-overload]
        lambda: wait_for_async(BG, event).send(None),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError, match=r"use a tether\.Signal"):
            refused()


def test_futures_of_loops_are_refused_elsewhere(run: Run) -> None:
    loop = run.new_loop()
    future: asyncio.Future[int] = loop.create_future()
    with pytest.raises(TypeError, match="run_coroutine_threadsafe"):
        wait_for(BG, future)  # type: ignore[call-overload]

    async def main() -> None:
        with pytest.raises(TypeError, match="another event loop"):
            await wait_for_async(BG, future)
        with pytest.raises(RuntimeError, match="in a task use: await wait_for_async"):
            wait_for(BG, Signal())

    run(main)
    loop.close()


@pytest.mark.parametrize("wrong", [None, 1])
def test_what_is_no_context_is_refused(wrong: Context) -> None:
    async def work() -> None: ...

    for refused in (
        lambda: wait_for(wrong, Signal()),
        lambda: wait_for_async(wrong, Signal()).send(None),
        lambda: wait_for_async(wrong, work()).send(None),
    ):
        with pytest.raises(TypeError, match="takes a context, not"):
            refused()


def test_a_future_that_is_done_meanwhile_in_a_thread() -> None:
    future: Future[int] = Future()
    own = Own()
    waiting = [start(wait_for, ctx, future) for ctx in (BG, own)]
    future.set_result(3)
    assert [one.result(LONG) for one in waiting] == [3, 3]
