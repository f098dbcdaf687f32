"""Random programs on a semaphore and on a queue, beside what must come out.

Nothing runs between two rules but at `settle`, so a release, the end of a context and
the cancel of a task may meet in one turn of the loop, in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from queue import Empty, Full
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tether import Canceled, Closed, Queue, Scope, Semaphore, background

TURNS = 12


class Wait:
    """One call that may wait, and what is known of it."""

    def __init__(self, task: asyncio.Task[Any], scope: Scope, weight: int) -> None:
        self.task = task
        self.scope = scope
        self.weight = weight
        self.state = "waits"
        self.killed = False  # its task has been canceled


class Lines(RuleBasedStateMachine):
    """The loop, the waits, and the ways in which they end."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.waits: list[Wait] = []

    def begin(
        self, call: Coroutine[Any, Any, object], scope: Scope, weight: int
    ) -> Wait:
        wait = Wait(self.loop.create_task(call), scope, weight)
        self.waits.append(wait)
        return wait

    def run(self) -> None:
        async def turns() -> None:
            for _ in range(TURNS):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def open(self) -> list[Wait]:
        return [wait for wait in self.waits if wait.state in ("waits", "granted")]

    def teardown(self) -> None:
        for wait in self.waits:
            wait.scope.cancel()
        self.run()
        assert all(wait.task.done() for wait in self.waits)
        for wait in self.waits:
            assert wait.scope._hooks is None
            if not wait.task.cancelled():
                wait.task.exception()
        self.loop.close()


class Semaphores(Lines):
    """Against a line that anybody can read."""

    @initialize(size=st.integers(0, 4))
    def make(self, size: int) -> None:
        self.size = self.free = size
        self.semaphore = Semaphore(size)
        self.line: list[Wait] = []

    # -- the reference ---------------------------------------------------------

    def serve(self) -> None:
        while self.line and self.line[0].weight <= self.free:
            self.free -= self.line[0].weight
            self.line.pop(0).state = "granted"

    def give(self, weight: int) -> None:
        self.free += weight
        self.serve()

    def leave(self, wait: Wait) -> None:
        if wait in self.line:
            self.line.remove(wait)
            if self.free > 0:
                self.serve()

    # -- the rules -------------------------------------------------------------

    @rule(weight=st.integers(0, 5))
    def acquire(self, weight: int) -> None:
        self.settle()
        scope = background().with_cancel()
        wait = self.begin(self.semaphore.acquire_async(scope, weight), scope, weight)
        if weight <= self.size:
            self.line.append(wait)
            if len(self.line) == 1:
                self.serve()
        self.settle()

    @rule(weight=st.integers(0, 5))
    def try_acquire(self, weight: int) -> None:
        there = not self.line and weight <= self.free
        assert self.semaphore.try_acquire(weight) == there
        self.free -= weight if there else 0

    @rule(weight=st.integers(0, 3))
    def release(self, weight: int) -> None:
        if self.free + weight > self.size:
            try:
                self.semaphore.release(weight)
            except RuntimeError:
                return
            raise AssertionError("released more than held")
        granted = sum(wait.weight for wait in self.open() if wait.state == "granted")
        if weight <= self.size - self.free - granted:  # what others just got is theirs
            self.semaphore.release(weight)
            self.give(weight)

    @precondition(lambda self: self.open())
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        wait = self.open()[which % len(self.open())]
        wait.scope.cancel()
        self.leave(wait)

    @precondition(lambda self: self.open())
    @rule(which=st.integers(0, 9))
    def kill(self, which: int) -> None:
        wait = self.open()[which % len(self.open())]
        wait.killed = wait.task.cancel() or wait.killed

    @rule()
    def settle(self) -> None:
        self.run()
        while late := [
            wait for wait in self.open() if wait.killed or wait.scope.done()
        ]:
            for wait in late:
                granted = wait.state == "granted"
                wait.state = "failed"
                if granted:
                    self.give(wait.weight)
                else:
                    self.leave(wait)
        for wait in self.open():
            if wait.state == "granted":
                wait.state = "acquired"
        self.compare()

    def compare(self) -> None:
        for wait in self.waits:
            assert wait.task.done() == (wait.state != "waits")
            if wait.state == "failed":
                failed = wait.task.cancelled() or wait.task.exception() is not None
                assert failed
                assert wait.task.cancelled() == wait.killed
                if not wait.killed:
                    assert isinstance(wait.task.exception(), Canceled)
            elif wait.state == "acquired":
                assert wait.task.exception() is None
        assert self.semaphore._line.free == self.free
        assert len(self.semaphore._line.waiting) == len(self.line)


class Queues(Lines):
    """Numbers go in and come out in their order, whoever is canceled meanwhile."""

    @initialize(maxsize=st.integers(0, 3))
    def make(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: Queue[int] = Queue(maxsize)
        self.number = 0
        self.put: list[int] = []
        self.got: list[int] = []

    async def getting(self, scope: Scope) -> None:
        self.got.append(await self.queue.get_async(scope))

    async def putting(self, scope: Scope, number: int) -> None:
        await self.queue.put_async(scope, number)
        self.put.append(number)

    @rule()
    def begin_get(self) -> None:
        scope = background().with_cancel()
        self.begin(self.getting(scope), scope, 0)

    @rule()
    def begin_put(self) -> None:
        self.settle()  # so that it comes after those that began before
        scope = background().with_cancel()
        self.number += 1
        self.begin(self.putting(scope, self.number), scope, 1)
        self.settle()

    @rule()
    def put_nowait(self) -> None:
        try:
            self.queue.put_nowait(self.number + 1)
        except Full:
            assert self.maxsize
            putting = any(wait.weight for wait in self.open())  # one may be promised
            assert putting or self.queue.qsize() == self.maxsize
        except Closed:
            assert self.queue.closed()
        else:
            self.number += 1
            self.put.append(self.number)

    @rule()
    def get_nowait(self) -> None:
        self.settle()  # so that what it gets comes after what others are given
        try:
            self.got.append(self.queue.get_nowait())
        except Empty:
            assert not self.queue.qsize()
        except Closed:
            assert self.queue.closed()

    @precondition(lambda self: self.open())
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        self.open()[which % len(self.open())].scope.cancel()

    @precondition(lambda self: self.open())
    @rule(which=st.integers(0, 9))
    def kill(self, which: int) -> None:
        self.open()[which % len(self.open())].task.cancel()

    @rule(really=st.integers(0, 4))
    def close(self, really: int) -> None:
        if not really:
            self.queue.close()

    @rule()
    def settle(self) -> None:
        self.run()
        for wait in self.open():
            if wait.task.done():
                wait.state = "done"
            else:
                assert not wait.scope.done(), "every wait ends with its context"
        inside = self.queue.qsize()
        assert self.put == sorted(self.put)
        assert self.got == self.put[: len(self.got)], "in their order, each once"
        assert len(self.put) == len(self.got) + inside, "and none lost"
        getting = sum(not wait.weight for wait in self.open())
        putting = len(self.open()) - getting
        assert not (getting and inside), "nobody waits for what is there"
        assert not (putting and inside < self.maxsize), "nor for a place that is free"
        assert not (self.queue.closed() and self.open())
        assert len(self.queue._items.waiting) == getting
        assert len(self.queue._places.waiting) == putting
        assert self.queue._items.free == inside
