"""B: a context of its own. It is handed to the client; the sleep knows nothing of it.

When the 800 ms are over the call ends, and each further one ends at once. The loop
takes that for a failure, sleeps, and tries again: for ever.
"""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, ContextError


class Prefetches:
    """Fire and forget, within 800 ms as it believes."""

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
