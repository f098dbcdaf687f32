"""redis-py: a cancel in the exit of the client's block leaves its connections open."""

from __future__ import annotations

import asyncio

import redis.asyncio as redis

from tests.ext.redis_server import server


async def shown() -> str:
    """What stays open."""
    client = redis.Redis.from_url(server().url)
    loop = asyncio.get_running_loop()

    async def use() -> None:
        async with client:
            await client.ping()
            loop.call_soon(task.cancel)  # the next wait is in the exit

    task = asyncio.create_task(use())
    await asyncio.wait({task})
    pool = client.connection_pool
    stays_open = [one for one in pool._available_connections if one.is_connected]
    await pool.disconnect()
    return "the block is left, and its connection is open" * bool(stays_open)


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing stays open")
