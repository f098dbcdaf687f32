"""Groups under pressure: nothing lost, nothing twice, no more than the limit, flat."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import Future

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tests.stress.test_growth import flat
from tether import (
    Canceled,
    Context,
    ContextError,
    Group,
    Handle,
    WaitGroup,
    background,
)

pytestmark = pytest.mark.stress

LIMIT = 256


class Boom(Exception):
    pass


class Peak:
    def __init__(self) -> None:
        self.now = self.most = self.ended = 0
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1
            self.ended += 1


def test_ten_thousand_detached_pieces_against_a_limit(run: Run) -> None:
    """Each is either shed, and counted, or done; at most 256 at a time."""
    peak = Peak()

    async def piece(ctx: Context) -> None:
        with peak:
            for _ in range(3):
                await asyncio.sleep(0)

    async def main() -> None:
        detached = WaitGroup(background(), limit=LIMIT, timeout=LONG)
        taken = 0
        for number in range(10_000):
            with background().with_timeout(LONG) as request:
                taken += detached.try_go_with(request, piece) is not None
            if number % 300 == 299:
                await asyncio.sleep(0)
        assert taken + detached.shed == 10_000
        assert detached.shed > 1000
        assert await detached.drain_async(background()) == []
        assert peak.ended == taken
        assert peak.most == LIMIT

    run(main)


def test_ten_thousand_pieces_that_queue(run: Run) -> None:
    peak = Peak()

    async def piece(ctx: Context, number: int) -> int:
        with peak:
            await asyncio.sleep(0)
            return number

    async def main() -> None:
        async with Group(limit=LIMIT) as group:
            handles = [group.go(piece, number) for number in range(10_000)]
        assert [handle.result() for handle in handles] == list(range(10_000))
        assert peak.most == LIMIT

    run(main)


def test_many_threads_and_loops_at_one_group(run: Run, switching: None) -> None:
    """Places are handed on between threads, tasks and loops; each piece ends once."""
    ended: Counter[int] = Counter()
    lock = threading.Lock()
    peak = Peak()
    group = WaitGroup(background(), limit=5)

    def end(number: int) -> int:
        with lock:
            ended[number] += 1
        if number % 7 == 0:
            raise Boom(number)
        return number

    async def task(ctx: Context, number: int) -> int:
        with peak:
            if number % 3:
                await asyncio.sleep(0)
            return end(number)

    def thread(ctx: Context, number: int) -> int:
        with peak:
            return end(number)

    handles: dict[int, Handle[int]] = {}

    def from_a_loop(first: int) -> None:
        async def main() -> None:
            chance = random.Random(first)
            for number in range(first, first + 200):
                fn = task if chance.random() < 0.9 else thread
                handles[number] = group.go_with(background(), fn, number)
                if chance.random() < 0.2:
                    await asyncio.sleep(0)
            for number in range(first, first + 200):
                try:
                    await handles[number].wait_async()
                except Boom:
                    assert number % 7 == 0

        run(main)

    def from_a_thread(first: int) -> None:
        for number in range(first, first + 50):
            handles[number] = group.go_with(background(), thread, number)

    starts = [
        *(start(from_a_loop, first) for first in (0, 1000, 2000)),
        *(start(from_a_thread, first) for first in (10_000, 11_000)),
    ]
    for one in starts:
        one.result(100)
    group.wait()
    assert len(ended) == len(handles) == 700
    assert set(ended.values()) == {1}
    assert peak.most <= 5
    for number, handle in handles.items():
        assert handle.done()
        assert (handle.error is not None) == (number % 7 == 0)


def test_ends_at_any_moment_leave_nobody_waiting(run: Run, switching: None) -> None:
    """A thread cancels while tasks and threads start, fail, queue and end."""

    async def task(ctx: Context, chance: float) -> None:
        await asyncio.sleep(0)
        if chance < 0.1:
            raise Boom
        with ctx.with_timeout(LONG) as inner:
            await asyncio.sleep(0)
            await inner.sleep_async(LONG if chance < 0.5 else 0.0)

    def thread(ctx: Context, chance: float) -> None:
        if chance < 0.1:
            raise Boom
        ctx.sleep(LONG if chance < 0.5 else 0.0)

    async def round_(number: int) -> str:
        chance = random.Random(number)
        scope = background().with_cancel()
        canceling: Future[None] = start(pause_and_cancel, scope, chance.random())
        task_here = asyncio.current_task()
        assert task_here is not None
        handles = []
        try:
            async with Group(scope, limit=chance.choice([None, 1, 2, 5])) as group:
                for _ in range(10):
                    fn = task if chance.random() < 0.8 else thread
                    handles.append(group.go(fn, chance.random()))
                    if chance.random() < 0.3:
                        await asyncio.sleep(0)
            outcome = "done"
        except (Boom, Canceled) as exc:
            outcome = type(exc).__name__
        canceling.result(LONG)
        scope.cancel()
        assert all(handle.done() for handle in handles)
        assert task_here.cancelling() == 0
        await asyncio.sleep(0)
        return outcome

    def pause_and_cancel(scope: Context, after: float) -> None:
        threading.Event().wait(after * 0.002)
        scope.cancel()  # type: ignore[attr-defined]

    async def main() -> Counter[str]:
        return Counter([await round_(number) for number in range(300)])

    outcomes = run(main)
    assert outcomes["Boom"] > 0
    assert outcomes["Canceled"] > 0


async def _good(ctx: Context) -> None:
    await asyncio.sleep(0)


async def _bad(ctx: Context) -> None:
    await asyncio.sleep(0)
    raise Boom


def test_groups_leave_memory_where_it_was(run: Run) -> None:
    async def many(count: int) -> None:
        for number in range(count):
            try:
                async with Group() as group:
                    for _ in range(5):
                        group.go(_good)
                    if number % 10 == 0:
                        group.go(_bad)
            except Boom:
                pass

    flat(lambda count: run(many, count), 3000)


def test_a_long_lived_wait_group_leaves_memory_where_it_was(run: Run) -> None:
    detached = WaitGroup(background(), limit=64, timeout=LONG)

    async def many(count: int) -> None:
        for _ in range(count):
            with background().with_timeout(LONG) as request:
                detached.try_go_with(request, _good)
            await asyncio.sleep(0)
        await detached.wait_async()

    flat(lambda count: run(many, count), 20_000)


def test_threads_of_groups_leave_memory_where_it_was() -> None:
    def piece(ctx: Context) -> None:
        try:
            ctx.check()
        except ContextError:
            pass

    def many(count: int) -> None:
        for _ in range(count):
            with Group() as group:
                group.go(piece)
                group.go(piece)

    flat(many, 1000)
