"""A process that is sick: many tasks wait for a lock that few hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tether import background

PREFETCH = "GET /prefetch"


class Pool:
    """A pool as in many programs: its places are a semaphore."""

    def __init__(self, size: int) -> None:
        self.slots = asyncio.Semaphore(size)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        async with self.slots:
            yield


async def load(pool: Pool, until: asyncio.Event) -> None:
    async with pool.acquire():
        await until.wait()


async def handler(pool: Pool, until: asyncio.Event, label: str) -> None:
    with background().with_cancel(label=label):
        await load(pool, until)


@asynccontextmanager
async def sick(
    count: int, *, size: int = 2, label: str = PREFETCH
) -> AsyncIterator[Pool]:
    """So many tasks, of which `size` have what the others wait for."""
    pool, until = Pool(size), asyncio.Event()
    tasks = [asyncio.create_task(handler(pool, until, label)) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    try:
        yield pool
    finally:
        until.set()
        await asyncio.gather(*tasks)
