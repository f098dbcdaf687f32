"""SQLAlchemy as a stack for the tests that are the same for each driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import psycopg
import sqlalchemy
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from demo.databases.server import Server
from tests.core.support import LONG
from tests.ext.stacks import InTasks, Threads, plainly
from tether import Context
from tether.ext import sqlalchemy as ours


def url_of(driver: str, url: str) -> str:
    if driver == "asyncpg":
        url = url.replace("sslmode=", "ssl=")
    return url.replace("postgresql:", f"postgresql+{driver}:")


def pid_of(fairy: Any) -> int:
    raw = fairy.driver_connection
    if isinstance(raw, asyncpg.Connection):
        return raw.get_server_pid()  # type: ignore[no-any-return]
    return raw.info.backend_pid  # type: ignore[no-any-return]


class Alchemy:
    """What threads and tasks have in common."""

    server: Server
    # SQLAlchemy's own, which wraps the driver's; behind an error of ours it is that.
    error: Any = (DBAPIError, psycopg.Error, AsyncAdapt_asyncpg_dbapi.Error)
    aborted: Any = DBAPIError
    canceled: Any = error
    lets_go = False  # where it handles an error a local variable holds that error


class AlchemyInThreads(Alchemy, Threads):
    def connect(self, url: str = "") -> Any:
        @contextmanager
        def connected() -> Iterator[Any]:
            at = url_of("psycopg", url or self.server.url)
            engine = create_engine(at, poolclass=NullPool)
            with engine.connect() as conn:
                yield conn

        return plainly(connected())

    def pool(self, size: int, url: str = "") -> Any:
        @contextmanager
        def opened() -> Iterator[Any]:
            engine = create_engine(
                url_of("psycopg", url or self.server.url),
                pool_size=size,
                max_overflow=0,
                pool_timeout=LONG,
            )
            try:
                yield engine
            finally:
                engine.dispose()

        return plainly(opened())

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        return plainly(ours.transaction(ctx, source, **options))

    def guard(self, ctx: Context, conn: Any) -> Any:
        return plainly(ours.guard(ctx, conn))

    def pid(self, conn: Any) -> int:
        return pid_of(conn.connection)

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        return self._call(ctx, source, sql, lambda result: None)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        return self._call(ctx, source, sql, lambda result: result.fetchone())

    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any:
        return self._call(ctx, source, sql, lambda result: result.fetchall())

    async def plain(self, conn: Any, sql: str) -> None:
        with own_transaction(conn):
            conn.execute(text(sql))

    def _call(self, ctx: Context, source: Any, sql: str, rows: Any) -> Any:
        if isinstance(source, sqlalchemy.Connection):
            with ours.guard(ctx, source), own_transaction(source):
                return rows(ours.execute(ctx, source, text(sql)))
        with ours.transaction(ctx, source) as conn:
            return rows(ours.execute(ctx, conn, text(sql)))


@contextmanager
def own_transaction(conn: Any) -> Iterator[None]:
    """As in a connection that commits by itself."""
    inside = conn.in_transaction()
    try:
        yield
        if not inside:
            conn.commit()
    except BaseException:
        if not inside:
            conn.rollback()
        raise


class AlchemyInTasks(Alchemy, InTasks):
    def __init__(self, server: Server, driver: str) -> None:
        super().__init__(server)
        self._driver = driver

    @asynccontextmanager
    async def connect(self, url: str = "") -> AsyncIterator[Any]:
        at = url_of(self._driver, url or self.server.url)
        engine = create_async_engine(at, poolclass=NullPool)
        async with engine.connect() as conn:
            yield conn

    @asynccontextmanager
    async def pool(self, size: int, url: str = "") -> AsyncIterator[Any]:
        engine = create_async_engine(
            url_of(self._driver, url or self.server.url),
            pool_size=size,
            max_overflow=0,
            pool_timeout=LONG,
        )
        try:
            yield engine
        finally:
            await engine.dispose()

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        return ours.transaction(ctx, source, **options)

    def guard(self, ctx: Context, conn: Any) -> Any:
        return ours.guard(ctx, conn)

    def pid(self, conn: Any) -> int:
        return pid_of(conn.sync_connection.connection)

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        return await self._call(ctx, source, sql, lambda result: None)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        return await self._call(ctx, source, sql, lambda result: result.fetchone())

    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any:
        return await self._call(ctx, source, sql, lambda result: result.fetchall())

    async def plain(self, conn: Any, sql: str) -> None:
        async with own_transaction_async(conn):
            await conn.execute(text(sql))

    async def _call(self, ctx: Context, source: Any, sql: str, rows: Any) -> Any:
        if isinstance(source, AsyncConnection):
            async with ours.guard(ctx, source), own_transaction_async(source):
                return rows(await ours.execute_async(ctx, source, text(sql)))
        async with ours.transaction(ctx, source) as conn:
            return rows(await ours.execute_async(ctx, conn, text(sql)))


@asynccontextmanager
async def own_transaction_async(conn: Any) -> AsyncIterator[None]:
    inside = conn.in_transaction()
    try:
        yield
        if not inside:
            await conn.commit()
    except BaseException:
        if not inside:
            await conn.rollback()
        raise
