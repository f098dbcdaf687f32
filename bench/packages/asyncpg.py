"""asyncpg: a connection, and a pool of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from bench.packages._handing import in_turns
from bench.packages._operation import Operation
from demo.databases.server import server

PACKAGE = "asyncpg"


async def connect() -> None:
    connection = await asyncpg.connect(server().url)
    try:
        assert await connection.fetchval("select 1") == 1
    finally:
        await connection.close()


@asynccontextmanager
async def pool() -> AsyncIterator[Any]:
    pool = await asyncpg.create_pool(server().url, min_size=0, max_size=1)
    try:
        yield pool
    finally:
        pool.terminate()


async def query(pool: Any) -> None:
    async with pool.acquire(timeout=5.0) as connection:
        assert await connection.fetchval("select 1") == 1


async def transaction(pool: Any) -> None:
    async with pool.acquire(timeout=5.0) as connection, connection.transaction():
        assert await connection.fetchval("select 1") == 1


async def three(pool: Any) -> None:
    await in_turns(lambda: query(pool))


async def it_is_clean(pool: Any) -> None:
    async with asyncio.timeout(5.0), pool.acquire() as connection:
        assert not connection.is_in_transaction(), "a transaction is open"


OPERATIONS = [
    Operation(
        "connect", connect, real_time=True, needs=server, shown_by="asyncpg_connect"
    ),
    *(
        Operation(
            name,
            op,
            pool,
            it_is_clean,
            real_time=True,
            needs=server,
            shown_by="asyncpg_connect",
        )
        for name, op in [
            ("pool: query", query),
            ("pool: transaction", transaction),
            ("pool: three at once", three),
        ]
    ),
]
