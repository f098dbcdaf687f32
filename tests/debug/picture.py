"""Makes docs/_static/debug.png: `python -m tests.debug.picture [TASKS]`.

It is the demo's shop with the handler of the incident, its recommendations degraded,
and people who look at their carts until a pod has 4,500 tasks. Soon one core has all it
can do with their attempts, and more come slowly; of 41,000 see `bench debug`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from demo import data
from demo.__main__ import files_in
from demo.http import request
from demo.processes import free_ports
from demo.scale import SLOW
from demo.shop import UNLIMITED, Shop, shop
from tests.debug import browser
from tether import Context, Group, run

PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "debug.png"
TASKS = 4_500
CLIENTS = 32


async def main(ctx: Context, tasks: int) -> None:
    path = browser.program()
    assert path is not None, "there is no Chromium"
    [page] = free_ports(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        where = files_in(folder)
        made = shop(ctx, "incident", folder / "shop", where, set(), 1, debug=page)
        async with made as one, Group(ctx) as group:
            await one.start_pods(
                ctx, group, print, count=1, weight=16, places=64, limit=UNLIMITED
            )
            await one.degrade(SLOW)
            enough = asyncio.Event()
            for first in range(CLIENTS):
                group.go(look_at_carts, one, first, enough)
            url = f"http://127.0.0.1:{page}/"
            await until(ctx, url, tasks)
            async with browser.opened(path, url) as tab:
                await ctx.sleep_async(4.0)  # some looks, for the growth
                PICTURE.write_bytes(await tab.picture())
            enough.set()
            one.pods[0].end()


async def look_at_carts(
    ctx: Context, one: Shop, first: int, enough: asyncio.Event
) -> None:
    """One of those who look at a cart, and at the next when it is there."""
    number = first
    while not enough.is_set():
        try:
            with ctx.with_timeout(3.0):
                path = f"/carts/{number * 7 % data.CARTS}"
                await request(one.pods[0].port, "GET", path)
        except (OSError, ValueError, TimeoutError):
            pass
        number += CLIENTS


async def until(ctx: Context, url: str, tasks: int) -> None:
    """Wait until the pod has so many tasks."""
    began = time.monotonic()

    def ask() -> int:
        with urllib.request.urlopen(f"{url}debug/tether.json", timeout=60.0) as answer:
            return int(json.load(answer)["task_count"])

    while (count := await asyncio.to_thread(ask)) < tasks:
        seconds = time.monotonic() - began
        sys.stderr.write(f"{seconds:5.0f} s  {count:6,} tasks\n")
        await ctx.sleep_async(1.0)


if __name__ == "__main__":
    run(main, int(sys.argv[1]) if len(sys.argv) > 1 else TASKS)
