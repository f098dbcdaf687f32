"""LS: every wait listens, and a semaphore sheds. The context ends with the service.

Detached work with an owner, as it should be, and a stop that is clean. But nothing says
how long a piece may take: it holds its place until the other side is well again.
"""

from __future__ import annotations

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, WaitGroup


class Prefetches:
    """Detached work, so many at a time, each for as long as it takes."""

    def __init__(self, service: Context, recommended: Recommended, limit: int) -> None:
        self._recommended = recommended
        self._work = WaitGroup(service, limit=limit)

    def start(self, ctx: Context, cart: Cart) -> bool:
        """Begin with one; False if all places are taken."""
        return self._work.try_go_with(ctx, self._prefetch, cart) is not None

    async def _prefetch(self, ctx: Context, cart: Cart) -> None:
        while True:
            try:
                await self._recommended.prepare(ctx, cart)
            except httpx.HTTPError:
                await ctx.sleep_async(10.0)
            else:
                return
