"""Makes docs/_static/debug.png: `python -m tests.debug.picture`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.debug import browser
from tether import background, debug

PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "debug.png"
STUCK, RATE = 40_000, 134


class Cache:
    """What the handlers go through: twenty connections, and a slow export has them."""

    def __init__(self) -> None:
        self.connections = asyncio.Semaphore(20)
        self.never = asyncio.Event()

    async def fetch(self) -> None:
        async with self.connections:
            await self.never.wait()


async def prefetch(cache: Cache) -> None:
    await cache.fetch()


async def search(cache: Cache) -> None:
    with background().with_cancel(label="GET /search"):
        await prefetch(cache)


async def product(cache: Cache) -> None:
    with background().with_timeout(30.0, label="GET /products/{id}"):
        await cache.fetch()


async def export(cache: Cache) -> None:
    with background().with_cancel(label="GET /export"):
        await cache.fetch()


async def order(cache: Cache) -> None:
    with background().with_timeout(1.0, label="POST /orders"):
        while True:
            try:
                await cache.never.wait()
            except asyncio.CancelledError:
                if asyncio.current_task() in stopped:
                    raise


stopped: set[asyncio.Task[None] | None] = set()


async def main() -> None:
    path = browser.program()
    assert path is not None, "there is no Chromium"
    cache = Cache()
    with debug.serve(port=0) as page:
        tasks = [asyncio.create_task(export(cache)) for _ in range(20)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(search(cache)) for _ in range(STUCK)]
        tasks += [asyncio.create_task(product(cache)) for _ in range(103)]
        tasks += [asyncio.create_task(order(cache))]
        async with browser.opened(path, page.url) as tab:
            for _ in range(6):
                await asyncio.sleep(1)
                tasks += [asyncio.create_task(search(cache)) for _ in range(RATE)]
            PICTURE.write_bytes(await tab.picture())
        stopped.update(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main())
