"""Makes docs/_static/debug.png: `python -m tests.debug.picture [TASKS]`.

It is the handler of the demo's incident, as in `bench debug`: 41,000 of its tasks wait
for a service that answers no more, and more of them come. A pod of the demo itself gets
to some 4,000: there the pool of httpx gives one core all it can do.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bench.debug import TASKS, Incident
from tests.debug import browser
from tether import Context, Group, debug, run

PICTURE = Path(__file__).parents[2] / "docs" / "_static" / "debug.png"
MORE = 5


async def main(ctx: Context, tasks: int) -> None:
    path = browser.program()
    assert path is not None, "there is no Chromium"
    page = debug.serve(port=0)
    incident = Incident()
    await incident.serve(tasks)
    async with Group(ctx) as group:
        enough = asyncio.Event()
        group.go(more, incident, enough)
        async with browser.opened(path, page.url) as tab:
            await ctx.sleep_async(10.0)  # some looks, for the growth
            PICTURE.write_bytes(await tab.picture())
        enough.set()
    incident.end()


async def more(ctx: Context, incident: Incident, enough: asyncio.Event) -> None:
    """Requests go on to come."""
    while not enough.is_set():
        await incident.serve(MORE)
        await ctx.sleep_async(0.1)


if __name__ == "__main__":
    run(main, int(sys.argv[1]) if len(sys.argv) > 1 else TASKS)
