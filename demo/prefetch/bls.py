"""BLS, all three fixes: the one to copy.

- It has the values of the request, and 800 ms of its own.
- Every wait ends with its context: the call, and the pause before the next attempt.
- So many at a time, with an owner who ends them with the service; the rest is shed.
"""

from __future__ import annotations

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, DeadlineExceeded, WaitGroup

ATTEMPTS = 3


class Prefetches:
    """Detached work, so many at a time, each within 800 ms."""

    def __init__(self, service: Context, recommended: Recommended, limit: int) -> None:
        self._recommended = recommended
        self._work = WaitGroup(service, limit=limit)

    def start(self, ctx: Context, cart: Cart) -> bool:
        """Begin with one; False if all places are taken, and nobody minds."""
        return self._work.try_go_with(ctx, self._prefetch, cart) is not None

    async def _prefetch(self, ctx: Context, cart: Cart) -> None:
        try:
            with ctx.with_timeout(0.8) as bounded:
                for attempt in range(ATTEMPTS):
                    try:
                        await self._recommended.prepare(bounded, cart)
                    except httpx.HTTPError:
                        await bounded.sleep_async(0.05 * 2**attempt)
                    else:
                        return
        except DeadlineExceeded:
            return  # too late to be of use, and no error
