"""psycopg and psycopg_pool: an asynchronous connection, and a pool of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from bench.packages._handing import in_turns
from bench.packages._operation import Operation
from demo.databases.server import server

PACKAGE = "psycopg"


async def connect() -> None:
    async with await psycopg.AsyncConnection.connect(server().url) as connection:
        await connection.execute("select 1")


@asynccontextmanager
async def pool() -> AsyncIterator[AsyncConnectionPool]:
    async with AsyncConnectionPool(
        server().url, min_size=1, max_size=1, timeout=5.0, open=False
    ) as pool:
        await pool.wait()
        yield pool


async def query(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        await connection.execute("select 1")


async def three(pool: AsyncConnectionPool) -> None:
    await in_turns(lambda: query(pool))


async def it_is_clean(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        status = connection.info.transaction_status
        assert status == TransactionStatus.IDLE, "a transaction is open"


OPERATIONS = [
    Operation(
        "connect", connect, real_time=True, needs=server, shown_by="psycopg_close"
    ),
    Operation("pool: query", query, pool, it_is_clean, real_time=True, needs=server),
    Operation(
        "pool: three at once", three, pool, it_is_clean, real_time=True, needs=server
    ),
]
