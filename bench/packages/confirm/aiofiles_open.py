"""aiofiles.open: what a thread opens after the cancel is closed by the collector."""

from __future__ import annotations

import asyncio
import gc
import warnings

import aiofiles


async def shown() -> str:
    """What is not closed."""

    async def read() -> None:
        async with aiofiles.open(__file__) as file:
            await file.read()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        task.cancel()  # while a thread opens the file
        await asyncio.wait({task})
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)
        gc.collect()
    return next((str(one.message) for one in said), "")


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing stays open")
