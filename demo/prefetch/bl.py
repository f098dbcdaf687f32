"""BL: a context of its own, and every wait ends with it. How many there are is open.

Each is over after 800 ms, whatever happens. There are as many of them as the traffic
brings along, and the service that is in trouble gets them all.
"""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, ContextError


class Prefetches:
    """Fire and forget, within 800 ms."""

    def __init__(self, service: Context, recommended: Recommended, limit: int) -> None:
        del limit
        self._service = service
        self._recommended = recommended
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, _: Context, cart: Cart) -> bool:
        """Begin with one."""
        task = asyncio.create_task(self._prefetch(cart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _prefetch(self, cart: Cart) -> None:
        try:
            with self._service.with_timeout(0.8) as ctx:
                while True:
                    try:
                        await self._recommended.prepare(ctx, cart)
                    except httpx.HTTPError:
                        await ctx.sleep_async(10.0)
                    else:
                        return
        except ContextError:
            return  # too late to be of use
