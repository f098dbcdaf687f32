"""aiosqlite: a connection, and its thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite

from bench.packages._operation import Operation

PACKAGE = "aiosqlite"


async def connect() -> None:
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("select 1")


@asynccontextmanager
async def database() -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("create table seats (number integer)")
        yield connection


async def query(connection: aiosqlite.Connection) -> None:
    async with connection.execute("select 1") as cursor:
        assert [*await cursor.fetchall()] == [(1,)]


async def transaction(connection: aiosqlite.Connection) -> None:
    try:
        await connection.execute("begin")
        await connection.execute("insert into seats values (7)")
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise


OPERATIONS = [
    Operation("connect", connect, shown_by="aiosqlite_connect"),
    Operation("query", query, database),
    Operation("transaction", transaction, database),
]
