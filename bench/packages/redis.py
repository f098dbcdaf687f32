"""redis-py's asyncio client, with a pool of one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis

from bench.packages._handing import in_turns
from bench.packages._operation import Operation
from tests.ext.redis_server import server

PACKAGE = "redis"
Client = redis.Redis


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    pool = redis.BlockingConnectionPool.from_url(
        server().url, max_connections=1, timeout=5.0
    )
    async with redis.Redis.from_pool(pool) as client:
        await client.flushdb()
        await client.set("key", "value")
        yield client


async def connect() -> None:
    async with redis.Redis.from_url(server().url) as client:
        await client.ping()


async def commands(client: Client) -> None:
    assert await client.get("key") == b"value"
    assert await client.echo("hello") == b"hello"


async def pipeline(client: Client) -> None:
    async with client.pipeline(transaction=True) as pipe:
        _ = pipe.set("key", "value"), pipe.get("key")  # sent by execute()
        answers = await pipe.execute()
    assert answers[1] == b"value"


async def three(client: Client) -> None:
    await in_turns(lambda: commands(client))


async def answers_are_right(client: Client) -> None:
    assert await client.get("key") == b"value", "another command's answer"
    assert await client.echo("other") == b"other", "another command's answer"


OPERATIONS = [
    Operation("connect", connect, real_time=True, needs=server, shown_by="redis_close"),
    *(
        Operation(name, op, client, answers_are_right, real_time=True, needs=server)
        for name, op in [
            ("commands", commands),
            ("pipeline", pipeline),
            ("three at once", three),
        ]
    ),
]
