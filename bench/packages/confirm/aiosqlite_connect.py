"""aiosqlite.connect: canceled while its thread opens, the connection is collected.

Python says so from 3.13 on.
"""

from __future__ import annotations

import asyncio
import gc
import warnings

import aiosqlite


async def shown() -> str:
    """What is not closed."""

    async def use() -> None:
        async with aiosqlite.connect(":memory:") as connection:
            await connection.execute("select 1")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        task = asyncio.create_task(use())
        await asyncio.sleep(0)
        task.cancel()  # while a thread opens it
        await asyncio.wait({task})
        await asyncio.sleep(0.1)
        gc.collect()
    return next((str(one.message) for one in said), "")


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing stays open")
