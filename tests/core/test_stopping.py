"""stopping: a server is asked to stop, then the connection is cut."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, background
from tether import _stopping as module
from tether._outlast import outlasting
from tether._stopping import stopping


class DriverError(Exception):
    pass


class Peer:
    """A connection whose server answers when it is asked, or does nothing."""

    def __init__(self, answers: bool = True) -> None:
        self.ours, self.servers = socket.socketpair()
        self.answers = answers
        self.running = True
        self.called = threading.Event()
        self.asked = threading.Event()
        self.requests = 0
        self.release = threading.Event()
        self.release.set()

    def fileno(self) -> int:
        return self.ours.fileno()

    def busy(self) -> bool:
        return self.running

    def ask(self, seconds: float) -> None:
        assert seconds > 0
        self.requests += 1
        self.asked.set()
        assert self.release.wait(LONG)
        if self.answers and self.running:
            self.servers.send(b"x")

    def tells(self, exc: Exception) -> bool:
        return isinstance(exc, DriverError)

    def close(self) -> None:
        self.ours.close()
        self.servers.close()

    def call(self) -> None:
        """A statement, in a thread: ends when the server answers, or by a cut."""
        self.called.set()
        self.ours.recv(1)
        self.running = False
        raise DriverError

    async def call_async(self) -> None:
        """The same in a task."""
        loop = asyncio.get_running_loop()
        self.ours.setblocking(False)
        await loop.sock_recv(self.ours, 1)
        self.running = False
        raise DriverError


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def stuck() -> Iterator[Peer]:
    peer = Peer(answers=False)
    yield peer
    peer.close()


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.1)


def descriptors() -> int:
    gc.collect()  # those of earlier tests may go at any moment
    return sum(1 for _ in Path("/dev/fd").iterdir())


def within(ctx: Context, peer: Peer, call: Callable[[], object]) -> Any:
    with stopping(ctx, peer):
        return call()


# -- in a thread ---------------------------------------------------------------------


def test_the_server_is_asked_and_the_contexts_error_raised(peer: Peer) -> None:
    why = KeyError("why")
    with background().with_cancel() as ctx:
        call = start(within, ctx, peer, peer.call)
        assert peer.called.wait(LONG)
        ctx.cancel(why)
        with pytest.raises(Canceled) as caught:
            call.result(LONG)
    assert caught.value.ctx is ctx
    assert isinstance(caught.value.__cause__, DriverError)
    assert caught.value.__cause__.__cause__ is why


def test_a_deadline_takes_the_same_way(peer: Peer) -> None:
    with background().with_timeout(0.01) as ctx:
        with pytest.raises(DeadlineExceeded):
            within(ctx, peer, peer.call)


def test_while_the_context_lasts_errors_pass(peer: Peer) -> None:
    def fails() -> None:
        raise DriverError

    with background().with_cancel() as ctx:
        with pytest.raises(DriverError):
            within(ctx, peer, fails)
    assert peer.requests == 0


def test_an_error_of_another_kind_passes_after_the_end(peer: Peer) -> None:
    def fails() -> None:
        ctx.cancel()
        raise KeyError

    with background().with_cancel() as ctx:
        with pytest.raises(KeyError):
            within(ctx, peer, fails)


def test_a_result_that_came_in_is_kept(peer: Peer) -> None:
    def finishes() -> int:
        ctx.cancel()
        assert peer.asked.wait(LONG)
        peer.running = False
        return 7

    with background().with_cancel() as ctx:
        assert within(ctx, peer, finishes) == 7


def test_nothing_is_begun_under_a_done_context(peer: Peer) -> None:
    ctx = background().with_cancel()
    ctx.cancel()
    before = descriptors()
    with pytest.raises(Canceled):
        within(ctx, peer, pytest.fail)
    assert descriptors() <= before


def test_a_statement_that_begins_after_the_end_is_stopped_as_well(peer: Peer) -> None:
    peer.running = False

    def between_two() -> None:
        ctx.cancel()
        assert not peer.asked.wait(0.02)  # a request would hit nothing
        peer.running = True
        peer.call()

    with background().with_cancel() as ctx:
        with pytest.raises(Canceled):
            within(ctx, peer, between_two)
    assert peer.requests >= 1


def test_leaving_waits_for_a_request_that_is_under_way(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", LONG)
    peer.release.clear()

    def finishes() -> None:
        ctx.cancel()
        assert peer.asked.wait(LONG)

    with background().with_cancel() as ctx:
        call = start(within, ctx, peer, finishes)
        assert peer.asked.wait(LONG)
        with pytest.raises(TimeoutError):
            call.result(0.05)
        peer.running = False
        peer.release.set()
        call.result(LONG)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_server_that_does_nothing_loses_the_connection(
    stuck: Peer, hangs: bool
) -> None:
    if hangs:
        stuck.release.clear()  # the request itself never returns
    with background().with_timeout(0.01) as ctx:
        with pytest.raises(DeadlineExceeded) as caught:
            within(ctx, stuck, stuck.call)
    assert isinstance(caught.value.__cause__, DriverError)
    assert stuck.servers.recv(1) == b""  # the server has been told, too
    stuck.release.set()


def test_what_came_out_of_a_cut_connection_counts_for_nothing(stuck: Peer) -> None:
    def takes_the_end_for_the_end_of_data() -> bytes:
        return stuck.ours.recv(1)

    with background().with_timeout(0.01) as ctx:
        with pytest.raises(DeadlineExceeded):
            within(ctx, stuck, takes_the_end_for_the_end_of_data)


def test_an_idle_connection_is_not_cut(peer: Peer) -> None:
    peer.running = False

    def computes() -> int:
        ctx.cancel()
        assert not peer.asked.wait(0.3)  # three times the grace
        return 7

    with background().with_cancel() as ctx:
        assert within(ctx, peer, computes) == 7
    peer.servers.send(b"x")
    assert peer.ours.recv(1) == b"x"


def test_the_driver_may_close_its_socket_in_the_block(stuck: Peer) -> None:
    """Its number is used anew, and that connection must live."""

    def closes() -> None:
        number = stuck.ours.fileno()
        stuck.ours.close()
        os.dup2(other.fileno(), number)
        ctx.cancel()
        try:
            assert stuck.servers.recv(1) == b""  # cut
        finally:
            os.close(number)

    other, far = socket.socketpair()
    with other, far, background().with_cancel() as ctx:
        with pytest.raises(Canceled):
            within(ctx, stuck, closes)
        far.send(b"x")
        assert other.recv(1) == b"x"


def test_no_descriptor_is_left(peer: Peer) -> None:
    before = descriptors()
    with background().with_cancel() as ctx:
        for _ in range(20):
            within(ctx, peer, lambda: None)
    assert descriptors() <= before


def test_a_context_canceled_because_of_an_earlier_error_of_it(peer: Peer) -> None:
    """The chain of causes has no end then, if nobody takes care."""
    error = DriverError()

    def fails() -> None:
        raise error

    ctx = background().with_cancel()

    def fails_at_the_end() -> None:
        ctx.cancel(error)
        raise error

    with pytest.raises(Canceled) as caught:
        within(ctx, peer, fails_at_the_end)
    assert caught.value.__cause__ is error
    assert error.__cause__ is None


# -- in a task -----------------------------------------------------------------------


async def within_async(ctx: Context, peer: Peer) -> None:
    async with stopping(ctx, peer):
        await peer.call_async()


def test_in_a_task_the_server_is_asked_and_the_answer_awaited(
    run: Run, peer: Peer
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(Canceled) as caught:
            with background().with_cancel() as ctx:
                loop.call_soon(ctx.cancel)
                await within_async(ctx, peer)
        assert caught.value.ctx is ctx
        assert isinstance(caught.value.__cause__, DriverError)

    run(main)
    assert peer.requests >= 1


def test_in_a_task_a_context_from_elsewhere_counts_as_well(
    run: Run, peer: Peer
) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        asyncio.get_running_loop().call_soon(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            await within_async(ctx, peer)
        assert isinstance(caught.value.__cause__, DriverError)

    run(main)


def test_in_a_task_an_inner_handler_cannot_take_the_outer_end_for_its_own(
    run: Run, peer: Peer
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(Canceled) as caught:
            with background().with_cancel() as outer:
                loop.call_soon(outer.cancel)
                try:
                    with outer.with_timeout(LONG) as inner:
                        await within_async(inner, peer)
                except (Canceled, DeadlineExceeded):
                    pytest.fail("it was the outer block that ended")
        assert caught.value.ctx is outer

    run(main)


def test_in_a_task_a_result_that_came_in_is_kept(run: Run, peer: Peer) -> None:
    async def main() -> int:
        ctx = background().with_cancel()
        async with stopping(ctx, peer):
            ctx.cancel()
            await asyncio.to_thread(peer.asked.wait, LONG)
            peer.running = False
        return 7

    assert run(main) == 7


def test_in_a_task_a_server_that_does_nothing_loses_the_connection(
    run: Run, stuck: Peer
) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.01) as ctx:
                await within_async(ctx, stuck)
        assert isinstance(caught.value.__cause__, DriverError)

    run(main)


def test_a_task_that_is_canceled_by_somebody_else_is(run: Run, peer: Peer) -> None:
    async def main() -> None:
        before = descriptors()
        with background().with_cancel() as ctx:
            task = asyncio.create_task(within_async(ctx, peer))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert descriptors() <= before

    run(main)


def test_a_block_may_be_interrupted_as_well(run: Run, peer: Peer) -> None:
    peer.running = False

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.01) as ctx:
                async with stopping(ctx, peer, interrupt=True):
                    await asyncio.get_running_loop().create_future()

    run(main)
    assert peer.requests == 0


def test_who_is_interrupted_and_goes_on_waiting_is_asked(run: Run, peer: Peer) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.01) as ctx:
                async with stopping(ctx, peer, interrupt=True):
                    try:
                        await asyncio.get_running_loop().create_future()
                    except asyncio.CancelledError:
                        # A driver whose own request came too early.
                        await peer.call_async()

    run(main)
    assert peer.requests >= 1


def test_who_is_interrupted_and_goes_on_waiting_is_cut(run: Run, stuck: Peer) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.01) as ctx:
                async with stopping(ctx, stuck, interrupt=True):
                    try:
                        await asyncio.get_running_loop().create_future()
                    except asyncio.CancelledError:
                        await stuck.call_async()  # a driver that waits for an answer

    run(main)


@pytest.mark.parametrize("interrupt", [True, False])
def test_in_a_task_nothing_is_begun_under_a_done_context(
    run: Run, peer: Peer, interrupt: bool
) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        ctx.cancel()
        before = descriptors()
        with pytest.raises(Canceled):
            async with stopping(ctx, peer, interrupt=interrupt):
                pytest.fail("begun")
        assert descriptors() <= before

    run(main)


# -- what must not be left half done -------------------------------------------------


def test_work_that_outlasts_is_not_reached_by_ends_and_cancels(run: Run) -> None:
    async def main() -> None:
        done = asyncio.Event()
        finished: list[int] = []

        async def work() -> int:
            await done.wait()
            finished.append(1)
            return 7

        async def leaves() -> None:
            await outlasting(work())
            pytest.fail("the cancel is raised afterwards")

        task = asyncio.create_task(leaves())
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        done.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert finished == [1]

    run(main)


def test_the_end_of_a_block_strikes_after_work_that_outlasts_it(run: Run) -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def work() -> int:
            await done.wait()
            return 7

        results: list[int] = []
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                loop = asyncio.get_running_loop()
                loop.call_soon(ctx.cancel)
                loop.call_later(0.01, done.set)
                results.append(await outlasting(work()))
                await loop.create_future()
        assert results == [7]

    run(main)


def test_work_outlasts_a_canceled_scope_of_anyios(run: Run) -> None:
    async def main() -> None:
        turns: list[int] = []

        async def work() -> None:
            for turn in range(20):
                await asyncio.sleep(0.001)
                turns.append(turn)

        with anyio.CancelScope() as scope:
            scope.cancel()
            await outlasting(work())
            await anyio.sleep(LONG)
        assert len(turns) == 20
        assert scope.cancelled_caught

    run(main)


def test_work_that_fails_while_its_task_is_canceled_is_told_of(run: Run) -> None:
    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(0.001)
            raise DriverError

        task = asyncio.create_task(outlasting(work()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert isinstance(caught.value.__cause__, DriverError)

    run(main)
