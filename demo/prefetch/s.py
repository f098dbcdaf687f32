"""S: a semaphore that sheds. Memory is safe; the places are taken by what does not end.

Whoever has a place keeps it through calls that hang and sleeps of ten seconds, until
the other side is well again and the sleep is over. All others are shed meanwhile.
"""

from __future__ import annotations

import asyncio

import httpx

from demo.data import Cart
from demo.prefetch import Recommended
from tether import Context, Semaphore, background


class Prefetches:
    """Fire and forget, so many at a time."""

    def __init__(self, _: Context, recommended: Recommended, limit: int) -> None:
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
        try:
            while True:
                try:
                    await self._recommended.prepare(background(), cart)
                except httpx.HTTPError:
                    await asyncio.sleep(10.0)
                else:
                    return
        finally:
            self._places.release()
