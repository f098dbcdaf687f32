"""aiocache: a cache in memory, its decorators, its lock."""

from __future__ import annotations

import asyncio

from aiocache import SimpleMemoryCache, cached, cached_stampede
from aiocache.lock import RedLock

from bench.packages._handing import in_turns
from bench.packages._operation import Operation

PACKAGE = "aiocache"


def key(*_: object) -> str:
    return "key"


async def commands(cache: SimpleMemoryCache) -> None:
    await cache.set("key", 1)
    assert await cache.get("key") == 1


async def decorated() -> None:
    @cached(key_builder=key)  # type: ignore[untyped-decorator]
    async def value() -> int:
        await asyncio.sleep(1.0)
        return 1

    assert await value() == 1


async def stampede() -> None:
    @cached_stampede(lease=2, key_builder=key)  # type: ignore[untyped-decorator]
    async def value() -> int:
        await asyncio.sleep(1.0)
        return 1

    await in_turns(value)


async def lock(cache: SimpleMemoryCache) -> None:
    async def work() -> None:
        async with RedLock(cache, "key", lease=30):
            await asyncio.sleep(1.0)

    await in_turns(work)


OPERATIONS = [
    Operation("set, get", commands, SimpleMemoryCache, shown_by="asyncio_wait_for"),
    Operation("cached", decorated, shown_by="asyncio_wait_for"),
    Operation("cached_stampede", stampede),
    Operation("RedLock", lock, SimpleMemoryCache),
]
