"""What one task hands to another, and whether it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


async def in_turns(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Three tasks, of which two have to wait for the one before them."""
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(work())


class One:
    """A lock that tasks take in turns."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    async def held(self) -> None:
        """Hold it for a second."""
        async with self.lock:
            await asyncio.sleep(1.0)

    async def in_turns(self) -> None:
        """Three hold it, one after the other."""
        await in_turns(self.held)


class Baton:
    """One notify while two wait for it: the operation, and then another task."""

    def __init__(self, condition: Any) -> None:
        self.condition = condition
        self.told = self.woken = 0

    async def tell(self) -> None:
        """Wake one of those who wait."""
        await asyncio.sleep(2.0)
        async with self.condition:
            self.told += 1
            self.condition.notify(1)

    async def wait(self, after: float = 0.0) -> None:
        """Wait to be woken."""
        await asyncio.sleep(after)
        async with self.condition:
            await self.condition.wait()
            self.woken += 1

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Baton]:
        """Inside, another waits and one tells."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tell())
            other = group.create_task(self.wait(after=1.0))
            yield self
            other.cancel()

    async def one_was_woken(self) -> None:
        """The check: whoever was woken, one was."""
        await asyncio.sleep(4.0)
        assert self.woken == self.told, f"{self.told} notify, {self.woken} woken"


async def woken(baton: Baton) -> None:
    """Wait for the only notify there will be."""
    if not baton.told:
        async with baton.condition:
            await baton.condition.wait()
            baton.woken += 1


class Parcels:
    """Items that are counted when they are sent and when they arrive."""

    def __init__(
        self,
        put: Callable[[int], Awaitable[object]],
        get: Callable[[], Awaitable[object]],
        take: Callable[[], object],
        empty: type[Exception],
    ) -> None:
        self._put, self._get, self._take, self._empty = put, get, take, empty
        self.sent = self.got = 0

    async def send(self, count: int = 2) -> None:
        """Send so many."""
        for number in range(count):
            await self._put(number)
            self.sent += 1
            await asyncio.sleep(0.1)

    async def receive(self, count: int = 2) -> None:
        """Receive so many."""
        for _ in range(count):
            await self._get()
            self.got += 1
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def sent_to(self) -> AsyncIterator[Parcels]:
        """Inside, another task sends."""
        async with asyncio.TaskGroup() as group:
            other = group.create_task(self.send(4))
            yield self
            other.cancel()

    @asynccontextmanager
    async def received(self) -> AsyncIterator[Parcels]:
        """Inside, another task receives."""
        async with asyncio.TaskGroup() as group:
            other = group.create_task(self.receive(4))
            yield self
            other.cancel()

    async def none_is_lost(self) -> None:
        """The check: what was sent has arrived, or is there."""
        for _ in range(40):
            await asyncio.sleep(0.1)
            try:
                self._take()
                self.got += 1
            except self._empty:
                pass
        # One may have been put by a task that was ended before it could count it.
        assert self.sent <= self.got, f"{self.sent} sent, {self.got} arrived"
