"""interrupting, in a task: with `async with`, which waits for a call that runs."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background
from tether.testing import VirtualClock


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class DriverError(Exception):
    pass


class Connection:
    """An asynchronous client: `execute` returns when `cancel` is called."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()
        self.calls: list[int] = []

    def cancel(self) -> None:
        self.calls.append(threading.get_ident())
        self.loop.call_soon_threadsafe(self.ended.set_exception, DriverError())

    async def execute(self) -> None:
        await asyncio.shield(self.ended)


def test_a_call_ends_with_its_context_and_raises_the_contexts_error(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        conn = Connection()
        asyncio.get_running_loop().call_later(0.0, scope.cancel)
        with pytest.raises(Canceled) as caught:
            async with scope.interrupting(conn.cancel):
                await conn.execute()
        assert isinstance(caught.value.__cause__, DriverError)
        assert len(conn.calls) == 1
        assert conn.calls[0] != threading.get_ident()

    run(main)


def test_a_live_context_leaves_the_call_alone(run: Run) -> None:
    async def main() -> None:
        calls: list[None] = []
        with background().with_cancel() as ctx:
            async with ctx.interrupting(lambda: calls.append(None)):
                await turns()
            with pytest.raises(DriverError):
                async with ctx.interrupting(lambda: calls.append(None)):
                    raise DriverError
        assert calls == []

    run(main)


def test_entering_under_a_done_context_raises(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        scope.cancel()
        with pytest.raises(Canceled):
            async with scope.interrupting(print):
                raise AssertionError

    run(main)


def test_the_end_of_the_block_around_it_becomes_that_blocks_error(run: Run) -> None:
    async def main() -> None:
        done: list[None] = []
        with VirtualClock() as clock:
            asyncio.get_running_loop().call_soon(lambda: clock.advance(5.0))
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(5.0) as scope:
                    async with scope.interrupting(lambda: done.append(None)):
                        await asyncio.get_running_loop().create_future()
            assert caught.value.ctx is scope
        assert done == [None]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await turns()

    run(main)


def test_leaving_waits_for_a_function_that_runs(run: Run) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        running, release = threading.Event(), threading.Event()

        def slow() -> None:
            running.set()
            assert release.wait(LONG)

        async def body() -> None:
            async with scope.interrupting(slow):
                scope.cancel()
                assert running.wait(LONG)

        task = asyncio.create_task(body())
        await turns(50)
        assert not task.done()
        release.set()
        with pytest.raises(Canceled):
            await asyncio.wait_for(task, LONG)

    run(main)


@pytest.mark.parametrize("times", [1, 3])
def test_a_task_canceled_while_leaving_waits_is_canceled_after_it(
    run: Run, times: int
) -> None:
    async def main() -> None:
        scope = background().with_cancel()
        running, release = threading.Event(), threading.Event()
        ran: list[None] = []

        def slow() -> None:
            running.set()
            assert release.wait(LONG)
            ran.append(None)

        async def body() -> None:
            async with scope.interrupting(slow):
                scope.cancel()
                assert running.wait(LONG)

        task = asyncio.create_task(body())
        await turns()
        for _ in range(times):
            task.cancel()
            await turns()
        assert not task.done()
        assert ran == []
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ran == [None]
        assert task.cancelling() == times

    run(main)


def test_no_late_call_hits_the_next_statement(run: Run, switching: None) -> None:
    async def main() -> None:
        current = [0]
        hit: list[int] = []

        def cancel() -> None:
            for _ in range(500):
                pass
            hit.append(current[0])

        for turn in range(300):
            scope = background().with_cancel()
            canceling = start(scope.cancel)
            current[0] = turn
            try:
                async with scope.interrupting(cancel):
                    await turns(turn % 3)
            except Canceled:
                pass
            current[0] = -1
            canceling.result(LONG)
        await turns()
        assert -1 not in hit
        assert len(hit) == len(set(hit))

    run(main)


def test_a_wait_that_was_canceled_is_no_cycle(run: Run) -> None:
    class Request:
        pass

    async def main() -> None:
        scope = background().with_cancel()
        running, release = threading.Event(), threading.Event()

        def slow() -> None:
            running.set()
            assert release.wait(LONG)

        async def body(request: Request) -> None:
            async with scope.interrupting(slow):
                scope.cancel()
                assert running.wait(LONG)

        request = Request()
        gone = weakref.ref(request)
        task = asyncio.create_task(body(request))
        del request
        await turns()
        task.cancel()
        await turns()
        release.set()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        await turns()
        gc.disable()
        try:
            assert gone() is None
        finally:
            gc.enable()

    run(main)
