"""Semaphores and queues that threads, the tasks of two loops and handlers share."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from queue import Empty, Full
from typing import Any

import pytest

from tests.loops import Run
from tests.stress.preempt import Partner, between, inside
from tests.stress.rounds import LONG, SCALE, Crew
from tests.stress.test_growth import flat
from tether import (
    Closed,
    Context,
    ContextError,
    Queue,
    Scope,
    Semaphore,
    background,
)

pytestmark = pytest.mark.stress

BG = background()
BUDGET = 2.0 * SCALE  # seconds for each test


# -- one operation at every point inside another -------------------------------


class Little:
    """A semaphore that is full and a queue that is, with some who wait for them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.semaphore = Semaphore(3)
        self.queue: Queue[int] = Queue(1)
        self.held = 3
        assert self.semaphore.try_acquire(3)
        self.queue.put_nowait(0)
        self.put = [0]
        self.got: list[int] = []
        self.scopes = [BG.with_cancel() for _ in range(4)]
        weights = (2, 1, 0)
        self.acquires = [
            (weight, self.begin(self.semaphore.acquire_async(scope, weight)))
            for weight, scope in zip(weights, self.scopes)
        ]
        self.puts = [self.begin(self.putting(self.scopes[3], one)) for one in (1, 2)]
        self.run()

    def begin(self, call: Any) -> asyncio.Task[None]:
        return self.loop.create_task(call)

    async def putting(self, ctx: Context, item: int) -> None:
        await self.queue.put_async(ctx, item)
        self.put.append(item)

    def run(self) -> None:
        async def turns() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    # -- operations ------------------------------------------------------------

    def release(self) -> None:
        self.semaphore.release()
        self.held -= 1

    def try_acquire(self) -> None:
        if self.semaphore.try_acquire():
            self.held += 1

    def release_too_much(self) -> None:
        with pytest.raises(RuntimeError):
            self.semaphore.release(4)

    def end_first(self) -> None:
        self.scopes[0].cancel()

    def end_second(self) -> None:
        self.scopes[1].cancel()

    def end_puts(self) -> None:
        self.scopes[3].cancel()

    def get(self) -> None:
        try:
            self.got.append(self.queue.get_nowait())
        except (Empty, Closed):
            return

    def put_one(self) -> None:
        try:
            self.queue.put_nowait(9)
        except (Full, Closed):
            return
        self.put.append(9)

    def close(self) -> None:
        self.queue.close()

    # -- what must hold --------------------------------------------------------

    def must_hold(self) -> None:
        self.run()
        line = self.semaphore._line
        for weight, task in self.acquires:
            if task.done() and task.exception() is None:
                self.held += weight
        assert line.free == 3 - self.held
        for entry in line.waiting:
            # Go's rule for 0: it is served when something is given.
            assert entry.weight > line.free or entry.weight == 0
            break
        open_ = [task for _, task in self.acquires if not task.done()]
        assert len(line.waiting) == len(open_)
        inside_ = self.queue.qsize()
        assert Counter(self.got) <= Counter(self.put)
        assert len(self.put) == len(self.got) + inside_
        waiting = [task for task in self.puts if not task.done()]
        assert len(self.queue._places.waiting) == len(waiting)
        assert not (waiting and (inside_ == 0 or self.queue.closed()))
        assert self.queue._items.free == inside_
        for scope in self.scopes:
            scope.cancel()
        self.run()
        for task in [*(task for _, task in self.acquires), *self.puts]:
            task.exception()
        assert not line.waiting
        assert line.free == 3 - self.held
        self.loop.close()


OPERATIONS: list[Callable[[Little], None]] = [
    Little.release,
    Little.try_acquire,
    Little.release_too_much,
    Little.end_first,
    Little.end_second,
    Little.end_puts,
    Little.get,
    Little.put_one,
    Little.close,
]


def programs(seed: int) -> Iterator[tuple[Callable[[Little], None], ...]]:
    every = [*product(OPERATIONS, OPERATIONS)]
    random.Random(seed).shuffle(every)
    until = time.monotonic() + 2 * BUDGET
    for program in every:
        if time.monotonic() > until:
            return
        yield program


def test_an_operation_in_the_middle_of_another_in_one_thread(seed: int) -> None:
    """As a signal handler or a finalizer would do it."""
    for first, second in programs(seed):
        number, reached = 0, True
        while reached:
            little = Little()
            try:
                reached = inside(lambda: first(little), lambda: second(little), number)
                little.must_hold()
            except BaseException as exc:
                exc.add_note(f"{first.__name__} {second.__name__} at {number}")
                raise
            number += 1


def test_an_operation_in_the_middle_of_another_in_two_threads(seed: int) -> None:
    with Partner() as partner:
        for first, second in programs(seed):
            number, reached = 0, True
            while reached:
                little = Little()
                try:
                    reached, _ = between(
                        lambda: first(little),
                        lambda: second(little),
                        number,
                        None,
                        partner,
                    )
                    little.must_hold()
                except BaseException as exc:
                    exc.add_note(f"{first.__name__} {second.__name__} at {number}")
                    raise
                number += 1


# -- threads and tasks of two loops --------------------------------------------


class Shared:
    """A semaphore of which more is wanted than there is, and a queue between all."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.size = 4
        self.semaphore = Semaphore(self.size)
        self.queue: Queue[tuple[int, int]] = Queue(3)
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()
        self.put: list[tuple[int, int]] = []
        self.got: list[list[tuple[int, int]]] = []

    def scope(self, kind: int, chance: random.Random) -> Scope:
        # Those who have entered leave again; whoever takes or puts may have gone.
        seconds = [1e-4, 5e-4, 2e-3] if kind else [1e-4, 60.0, 60.0]
        return BG.with_timeout(chance.choice(seconds))

    def enter(self, weight: int) -> None:
        with self.lock:
            self.inside += weight
            self.most = max(self.most, self.inside)

    def leave(self, weight: int) -> None:
        with self.lock:
            self.inside -= weight

    def in_thread(self, part: int) -> None:
        chance = random.Random(self.seed * 31 + part)
        got: list[tuple[int, int]] = []
        self.got.append(got)
        for number in range(60):
            weight, kind = chance.randrange(4), chance.randrange(4)
            try:
                with self.scope(kind, chance) as ctx:
                    if kind == 0:
                        with self.semaphore.held(ctx, weight):
                            self.enter(weight)
                            time.sleep(chance.choice([0.0, 1e-4]))
                            self.leave(weight)
                    elif kind == 1:
                        self.queue.put(ctx, (part, number))
                        self.put.append((part, number))
                    elif kind == 2:
                        got.append(self.queue.get(ctx))
                    elif self.semaphore.try_acquire(weight):
                        self.semaphore.release(weight)
            except ContextError:
                continue

    async def in_task(self, part: int) -> None:
        chance = random.Random(self.seed * 31 + part)
        got: list[tuple[int, int]] = []
        self.got.append(got)
        for number in range(60):
            weight, kind = chance.randrange(4), chance.randrange(4)
            try:
                with self.scope(kind, chance) as ctx:
                    if kind == 0:
                        async with self.semaphore.held(ctx, weight):
                            self.enter(weight)
                            try:
                                await asyncio.sleep(chance.choice([0.0, 1e-4]))
                            finally:
                                self.leave(weight)
                    elif kind == 1:
                        await self.queue.put_async(ctx, (part, number))
                        self.put.append((part, number))
                    elif kind == 2:
                        got.append(await self.queue.get_async(ctx))
                    else:
                        await asyncio.sleep(0)
            except ContextError:
                continue

    async def tasks(self, first: int) -> None:
        chance = random.Random(self.seed * 31 + first)
        async with asyncio.timeout(LONG):
            tasks = [
                asyncio.create_task(self.in_task(first + part)) for part in range(4)
            ]
            for task in tasks:
                if chance.random() < 0.3:
                    await asyncio.sleep(chance.random() * 0.005)
                    task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if outcome is not None:
                    assert isinstance(outcome, asyncio.CancelledError)

    def must_hold(self) -> None:
        assert self.inside == 0
        assert self.most <= self.size
        assert self.semaphore._line.free == self.size
        assert not self.semaphore._line.waiting
        assert not self.queue._items.waiting
        assert not self.queue._places.waiting
        rest = []
        while self.queue.qsize():
            rest.append(self.queue.get_nowait())
        out = Counter(rest)
        for got in self.got:
            out.update(got)
            for part in {part for part, _ in got}:
                mine = [number for one, number in got if one == part]
                assert mine == sorted(mine), "overtaken"
        assert max(out.values(), default=1) == 1, "doubled"
        # A task that was canceled when its item was in has not noted it.
        assert {*self.put} <= {*out}, "lost"


@pytest.mark.usefixtures("switching")
def test_threads_and_tasks_of_two_loops(run: Run, seed: int) -> None:
    until = time.monotonic() + 2 * BUDGET
    with Crew(4) as crew:
        while time.monotonic() < until:
            shared = Shared(seed)
            try:
                crew.join(
                    crew.begin(
                        partial(shared.in_thread, 1),
                        partial(shared.in_thread, 2),
                        lambda: run(shared.tasks, 10),
                        lambda: run(shared.tasks, 20),
                    )
                )
                shared.must_hold()
            except BaseException as exc:
                exc.add_note(f"seed {seed}")
                raise
            seed += 1


@pytest.mark.usefixtures("switching")
def test_a_finalizer_that_releases_in_the_middle_of_anything() -> None:
    """Leases are dropped in cycles, so the collector runs them wherever it likes."""
    semaphore, waited_for = Semaphore(50), Semaphore(1)

    class Lease:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            semaphore.release()

    def work() -> None:
        with BG.with_timeout(LONG) as ctx:
            until = time.monotonic() + BUDGET / 2
            while time.monotonic() < until:
                if semaphore.try_acquire():
                    Lease()
                else:
                    gc.collect()  # nobody would, if all waited
                with waited_for.held(ctx):
                    pass

    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        with Crew(3) as crew:
            crew.join(crew.begin(work, work, work))
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert semaphore._line.free == 50


# -- nothing grows -------------------------------------------------------------


def test_waits_that_give_up_behind_a_head_that_stays_leave_nothing(run: Run) -> None:
    async def many(count: int) -> None:
        semaphore, queue = Semaphore(1), Queue[int]()
        assert semaphore.try_acquire()
        with BG.with_timeout(3600.0) as request:
            stuck = [
                asyncio.create_task(semaphore.acquire_async(request)),
                asyncio.create_task(queue.get_async(request)),
            ]
            await asyncio.sleep(0)
            for _ in range(count):
                for call in (semaphore.acquire_async, queue.get_async):
                    scope = request.with_cancel()
                    task = asyncio.create_task(call(scope))
                    await asyncio.sleep(0)
                    scope.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            assert len(semaphore._line.waiting) == 1
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    flat(lambda count: run(many, count), 3000)


def test_semaphores_and_queues_are_freed() -> None:
    def many(count: int) -> None:
        with BG.with_cancel() as ctx:
            for _ in range(count):
                semaphore, queue = Semaphore(2), Queue[int](2)
                with semaphore.held(ctx):
                    queue.put(ctx, 1)
                with pytest.raises(ContextError):
                    with ctx.with_timeout(1e-6) as brief:
                        queue.put(brief, 2)
                        queue.put(brief, 3)
                with pytest.raises(ContextError):
                    with ctx.with_timeout(1e-6) as brief:
                        semaphore.acquire(brief, 3)

    flat(many, 3000)
