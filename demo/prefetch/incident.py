"""None of the fixes: what had been there when it happened."""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, background


class Prefetches:
    """Fire and forget. It ignores the request, and tries until it succeeds."""

    def __init__(self, _: Context, recommended: Recommended, limit: int) -> None:
        del limit
        self._recommended = recommended
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, _: Context, cart: Cart) -> bool:
        """Begin with one."""
        task = asyncio.create_task(self._prefetch(cart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _prefetch(self, cart: Cart) -> None:
        while True:
            try:
                await self._recommended.prepare(background(), cart)
            except httpx.HTTPError:
                await asyncio.sleep(10.0)
            else:
                return
