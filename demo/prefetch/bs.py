"""BS: a context of its own, handed to the client, and a semaphore that sheds.

The loop of B never ends once its context has, and here it has a place. When all places
are taken by such loops nothing is fetched any more, until somebody restarts the pod.
"""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, ContextError, Semaphore


class Prefetches:
    """Fire and forget, so many at a time, within 800 ms as it believes."""

    def __init__(self, service: Context, recommended: Recommended, limit: int) -> None:
        self._service = service
        self._recommended = recommended
        self._places = Semaphore(limit)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, _: Context, cart: Cart) -> bool:
        """Begin with one; False if all places are taken."""
        if not self._places.try_acquire():
            return False
        task = asyncio.create_task(self._prefetch(cart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _prefetch(self, cart: Cart) -> None:
        ctx = self._service.with_timeout(0.8)
        try:
            while True:
                try:
                    await self._recommended.prepare(ctx, cart)
                except (httpx.HTTPError, ContextError):
                    await asyncio.sleep(10.0)
                else:
                    return
        finally:
            ctx.cancel()
            self._places.release()
