"""L: every wait listens. What it has to listen to is the request, and that is over.

The request ends when it is answered, which takes some milliseconds. So nothing piles
up, and hardly a recommendation is ever fetched.
"""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, ContextError


class Prefetches:
    """Goes on for as long as the request that has started it."""

    def __init__(self, _: Context, recommended: Recommended, limit: int) -> None:
        del limit
        self._recommended = recommended
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, ctx: Context, cart: Cart) -> bool:
        """Begin with one."""
        task = asyncio.create_task(self._prefetch(ctx, cart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _prefetch(self, ctx: Context, cart: Cart) -> None:
        while True:
            try:
                await self._recommended.prepare(ctx, cart)
            except httpx.HTTPError:
                await ctx.sleep_async(10.0)
            except ContextError:
                return  # the request is over
            else:
                return
