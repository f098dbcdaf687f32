"""The limit of a group: places, the queue, and who comes first."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, Context, Group, WaitGroup, _clock, background


class Boom(Exception):
    pass


class Peak:
    """How many are in it at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1


def test_never_more_than_the_limit_run_in_tasks(run: Run) -> None:
    peak = Peak()

    async def task(ctx: Context) -> None:
        with peak:
            await asyncio.sleep(0)

    async def main() -> None:
        async with Group(limit=3) as group:
            for _ in range(100):
                group.go(task)

    run(main)
    assert peak.most == 3


def test_never_more_than_the_limit_run_in_threads() -> None:
    peak = Peak()
    both = threading.Barrier(2, timeout=LONG)

    def thread(ctx: Context) -> None:
        with peak:
            both.wait()

    with Group(limit=2) as group:
        for _ in range(20):
            group.go(thread)
    assert peak.most == 2


def test_tasks_queue_first_come_first_served(run: Run) -> None:
    order = []

    async def task(ctx: Context, number: int) -> None:
        order.append(number)
        await asyncio.sleep(0)

    def thread(ctx: Context, number: int) -> None:
        order.append(number)

    async def main() -> None:
        async with Group(limit=1) as group:
            for number in range(20):
                fn = thread if number % 3 == 2 else task
                handle = group.go(fn, number)
            assert not handle.done()

    run(main)
    assert order == list(range(20))


def test_started_waits_for_the_place(run: Run) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def task(ctx: Context) -> None:
            await go_on.wait()

        async with Group(limit=1) as group:
            first, second = group.go(task), group.go(task)
            await first.started()
            waiting = asyncio.ensure_future(second.started())
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            assert "queued" in repr(second)
            go_on.set()
            await waiting
            assert first.done()

    run(main)


def test_in_a_thread_go_blocks_until_there_is_a_place() -> None:
    go_on, began = threading.Event(), threading.Event()

    def first(ctx: Context) -> None:
        go_on.wait(LONG)

    def second(ctx: Context) -> None:
        began.set()

    group = Group(limit=1)
    group.go(first)
    calling = start(lambda: group.go(second))
    assert not began.wait(0.01)
    assert not calling.done()
    go_on.set()
    calling.result(LONG)
    assert began.wait(LONG)
    group.wait()


def test_a_place_is_not_lost_by_a_failing_piece_and_the_context_ends_before(
    run: Run,
) -> None:
    seen = []

    async def fails(ctx: Context) -> None:
        await asyncio.sleep(0)
        raise Boom

    async def next_one(ctx: Context) -> None:
        seen.append(ctx.done())

    async def main() -> None:
        async with Group(limit=1) as group:
            group.go(fails)
            group.go(next_one)
            group.go(next_one)

    with pytest.raises(Boom):
        run(main)
    assert seen == [True, True]


def test_try_go_answers_none_while_the_limit_is_reached(run: Run) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def task(ctx: Context) -> int:
            await go_on.wait()
            return 1

        async with Group(limit=2) as group:
            handles = [group.try_go(task) for _ in range(4)]
            assert [handle is None for handle in handles] == [False, False, True, True]
            queued = group.go(task)
            go_on.set()
            assert group.try_go(task) is None  # who waits comes first
        assert queued.result() == 1

    run(main)


def test_a_limit_of_zero_starts_nothing() -> None:
    group = Group(limit=0)
    assert [group.try_go(lambda ctx: None) for _ in range(10)] == [None] * 10
    with pytest.raises(RuntimeError, match="limit is 0"):
        group.go(lambda ctx: None)
    group.wait()
    group.set_limit(1)
    assert group.go(lambda ctx: 7).wait() == 7
    group.wait()


def test_a_limit_is_changed_only_while_nothing_runs(run: Run) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def task(ctx: Context) -> None:
            await go_on.wait()

        group = Group()
        handles = [group.go(task), group.go(task)]
        with pytest.raises(RuntimeError, match="modify limit while 2 goroutines"):
            group.set_limit(5)
        go_on.set()
        await group.wait_async()
        group.set_limit(5)
        assert all(handle.done() for handle in handles)

    run(main)


def test_lifting_the_limit_starts_those_that_wait(run: Run) -> None:
    async def main() -> None:
        go_on = asyncio.Event()
        began = []

        async def task(ctx: Context, number: int) -> None:
            began.append(number)
            await go_on.wait()

        async with Group(limit=1) as group:
            for number in range(5):
                group.go(task, number)
            await asyncio.sleep(0)
            assert began == [0]
            group.set_limit(-1)
            for _ in range(3):
                await asyncio.sleep(0)
            assert began == [0, 1, 2, 3, 4]
            go_on.set()

    run(main)


def test_a_place_that_a_thread_frees_goes_to_a_task(run: Run) -> None:
    async def task(ctx: Context) -> str:
        return "task"

    async def main() -> None:
        go_on = threading.Event()

        def thread(ctx: Context) -> None:
            go_on.wait(LONG)

        async with Group(limit=1) as group:
            group.go(thread)
            handle = group.go(task)
            await asyncio.sleep(0)
            assert not handle.done()
            go_on.set()
        assert handle.result() == "task"

    run(main)


@pytest.mark.parametrize("closed", ["closed", "with the start on its way"])
def test_the_place_of_a_loop_that_is_gone_goes_to_the_next(
    run: Run, closed: str
) -> None:
    group = WaitGroup(limit=1)
    go_on = threading.Event()

    def thread(ctx: Context) -> None:
        go_on.wait(LONG)

    async def task(ctx: Context) -> None:
        await asyncio.sleep(0)

    group.go(thread)
    loop = run.new_loop()

    async def queue_up() -> None:
        for _ in range(2000):  # more than may nest
            handles.append(group.go_with(background(), task))

    handles: list[object] = []
    loop.run_until_complete(queue_up())
    if closed == "closed":
        loop.close()
        go_on.set()
    else:
        go_on.set()
        while len(group._queue) == 2000:
            time.sleep(0.001)  # until the first has been handed to the loop
        loop.close()
    waiting = start(group.wait)
    waiting.result(LONG)
    assert group.go(lambda ctx: "goes on").wait() == "goes on"
    assert group.errors == []


def test_ctrl_c_in_a_blocked_go_gives_the_place_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def thread(ctx: Context) -> None:
        go_on.wait(LONG)

    class Interrupt(BaseException):
        pass

    def interrupted(parker: _clock.Parker, until: float = LONG) -> bool:
        raise Interrupt

    group = Group(limit=1)
    group.go(thread)
    with monkeypatch.context() as patch:
        patch.setattr(_clock.Parker, "park", interrupted)
        with pytest.raises(Interrupt):
            group.go(thread)
    go_on.set()
    group.wait()
    assert group.try_go(lambda ctx: 1) is not None
    group.wait()


def test_an_owner_that_is_canceled_lets_the_queue_start_and_end(run: Run) -> None:
    began = []

    async def task(ctx: Context) -> None:
        began.append(ctx.done())
        await asyncio.sleep(LONG)

    async def main() -> None:
        with pytest.raises(Boom):
            async with Group(limit=1) as group:
                handles = [group.go(task) for _ in range(3)]
                await handles[0].started()
                await asyncio.sleep(0)
                raise Boom
        assert all(isinstance(handle.error, Canceled) for handle in handles)

    run(main)
    assert began == [False, True, True]
