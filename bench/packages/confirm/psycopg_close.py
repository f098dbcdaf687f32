"""psycopg.AsyncConnection: a cancel in the exit of its block leaves it open."""

from __future__ import annotations

import asyncio

import psycopg

from demo.databases.server import server


async def shown() -> str:
    """What stays open."""
    connection = await psycopg.AsyncConnection.connect(server().url)
    loop = asyncio.get_running_loop()

    async def use() -> None:
        async with connection:
            await connection.execute("select 1")
            loop.call_soon(task.cancel)  # the next wait is that of the commit

    task = asyncio.create_task(use())
    await asyncio.wait({task})
    stays_open = not connection.closed
    await connection.close()
    return "the block is left, and the connection is open" * stays_open


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing stays open")
