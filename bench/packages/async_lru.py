"""async-lru: two callers of one value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from async_lru import alru_cache

from bench.packages._operation import Operation

PACKAGE = "async-lru"


class Cached:
    """A slow function with a cache, and another caller."""

    def __init__(self) -> None:
        self.got = 0

        @alru_cache(maxsize=2)
        async def value(number: int) -> int:
            await asyncio.sleep(1.0)
            return number

        self.value = value

    async def other(self) -> None:
        await asyncio.sleep(0.5)
        self.got = await self.value(1)


@asynccontextmanager
async def cached() -> AsyncIterator[Cached]:
    async with asyncio.TaskGroup() as group:
        state = Cached()
        group.create_task(state.other())
        yield state


async def call(state: Cached) -> None:
    assert await state.value(1) == 1


async def other_has_it(state: Cached) -> None:
    await asyncio.sleep(3.0)
    assert state.got == 1, "the other caller was canceled as well"


OPERATIONS = [Operation("alru_cache", call, cached, other_has_it)]
