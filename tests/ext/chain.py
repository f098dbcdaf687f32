"""A whole service: a client, FastAPI, and what its endpoints ask of PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from demo.databases.server import Server
from tests.core.support import LONG
from tests.ext.serving import Served, serve
from tether.ext.asgi import ContextMiddleware
from tether.ext.fastapi import Ctx
from tether.ext.psycopg import execute, execute_async, fetch_one, transaction

SLOW = "select pg_sleep(600)"
PATHS = ("/coroutine", "/function")


@contextmanager
def service(server: Server, timeout: float | None = None) -> Iterator[Served]:
    """It inserts a row into `orders` and then waits for long; pools of two."""
    pool = ConnectionPool(server.url, min_size=2, max_size=2, open=False)
    pool_async = AsyncConnectionPool(server.url, min_size=2, max_size=2, open=False)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with pool:
            async with pool_async:
                await pool_async.wait(LONG)
                pool.wait(LONG)
                yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/coroutine")
    async def coroutine(mark: str, ctx: Ctx) -> None:
        async with transaction(ctx, pool_async) as conn:
            await execute_async(ctx, conn, "insert into orders values (1)")
            await execute_async(ctx, conn, f"{SLOW} -- {mark}")

    @app.get("/function")
    def function(mark: str, ctx: Ctx) -> None:
        with transaction(ctx, pool) as conn:
            execute(ctx, conn, "insert into orders values (1)")
            execute(ctx, conn, f"{SLOW} -- {mark}")

    @app.get("/count")
    def count(ctx: Ctx) -> object:
        row = fetch_one(ctx, pool, "select count(*) from orders")
        return row and row[0]

    with serve(ContextMiddleware(app, timeout=timeout)) as served:
        yield served
