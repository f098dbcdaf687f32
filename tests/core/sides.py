"""The same test in threads and in tasks: what waits is started on either side.

A test is a coroutine function that is given a side. Its `await`s are those of the
side, which in threads never suspend, so there it runs without a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tests.core.support import LONG, start
from tests.loops import KINDS, Run
from tether.testing import VirtualClock

SIDES = ["threads", *KINDS]


class Pending(Protocol):
    """A call that may still wait."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...
    def exception(self) -> BaseException | None: ...


class Side(Protocol):
    """Where a test's calls wait."""

    clock: VirtualClock

    async def call(self, owner: object, name: str, *args: object) -> Pending:
        """Start `owner.name(*args)`, or its form for tasks, and let it run."""

    async def settle(self) -> None:
        """Let everything run that can."""

    async def advance(self, seconds: float) -> None:
        """Let time pass."""


class Threads:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    async def call(self, owner: object, name: str, *args: object) -> Pending:
        pending = start(getattr(owner, name), *args)
        self.clock.settle()
        return pending

    async def settle(self) -> None:
        self.clock.settle()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Tasks:
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    async def call(self, owner: object, name: str, *args: object) -> Pending:
        pending: asyncio.Task[object]
        pending = asyncio.ensure_future(getattr(owner, f"{name}_async")(*args))
        await self.clock.settle_async()
        return pending

    async def settle(self) -> None:
        await self.clock.settle_async()

    async def advance(self, seconds: float) -> None:
        await self.clock.advance_async(seconds)


Test = Callable[[Side], Coroutine[Any, Any, None]]
Play = Callable[[Test], None]


def play_on(kind: str) -> Play:
    def in_threads(test: Test) -> None:
        with VirtualClock() as clock:
            try:
                test(Threads(clock)).send(None)
            except StopIteration:
                return
        raise AssertionError("a test in threads was suspended")

    def in_tasks(test: Test) -> None:
        async def main() -> None:
            with VirtualClock() as clock:
                async with asyncio.timeout(LONG):
                    await test(Tasks(clock))

        Run(kind)(main)

    return in_threads if kind == "threads" else in_tasks
