"""anyio.open_file: a cancel in the exit of its block leaves the file open."""

from __future__ import annotations

import asyncio

import anyio


async def shown() -> str:
    """What stays open."""
    file = await anyio.open_file(__file__)
    loop = asyncio.get_running_loop()

    async def use() -> None:
        async with file:
            loop.call_soon(task.cancel)  # the next wait is in the exit

    task = asyncio.create_task(use())
    await asyncio.wait({task})
    await asyncio.sleep(0.01)
    stays_open = not file.wrapped.closed
    file.wrapped.close()
    return "the block is left, and the file is open" * stays_open


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing stays open")
