"""What the functions for databases return, as mypy sees it. Checked, never run."""

from __future__ import annotations

from typing import Any, assert_type

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tether import Context
from tether.ext import asyncpg
from tether.ext.psycopg import (
    execute,
    fetch_all,
    fetch_one,
    fetch_one_async,
    guard,
    transaction,
)

Rows = tuple[Any, ...]


def in_a_thread(ctx: Context, pool: ConnectionPool, conn: psycopg.Connection) -> None:
    assert_type(fetch_one(ctx, pool, "select 1"), Rows | None)
    assert_type(fetch_all(ctx, conn, "select %s", (1,)), list[Rows])
    assert_type(execute(ctx, pool, "select 1"), psycopg.Cursor[Rows])
    with transaction(ctx, pool) as tx:
        assert_type(tx, psycopg.Connection[Rows])
    with guard(ctx, conn) as same:
        assert_type(same, psycopg.Connection[Rows])
    other = psycopg.connect("", row_factory=dict_row)
    assert_type(fetch_one(ctx, other, "select 1"), dict[str, Any] | None)


async def in_a_task(
    ctx: Context, pool: AsyncConnectionPool, lent: asyncpg.Connection
) -> None:
    assert_type(await fetch_one_async(ctx, pool, "select 1"), Rows | None)
    async with transaction(ctx, pool) as tx:
        assert_type(tx, psycopg.AsyncConnection[Rows])
    assert_type(await asyncpg.fetch_one(ctx, lent, "select 1"), asyncpg.Row | None)
    async with asyncpg.guard(ctx, lent) as same:
        assert_type(same, asyncpg.Connection)
