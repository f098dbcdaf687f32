"""The same test for each driver, in threads and in tasks.

A test is a coroutine function that is given a `Stack`. The `await`s of one for threads
never suspend, so there it runs without a loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any, Protocol, TypeVar

import asyncpg
import psycopg
import psycopg_pool

from demo.databases.server import Server
from tests.core.support import LONG
from tests.loops import KINDS, Run
from tether import Context
from tether.ext import asyncpg as for_asyncpg
from tether.ext import psycopg as for_psycopg

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, T]]

STACKS = [
    "psycopg in threads",
    *(f"{driver} on {kind}" for driver in ("psycopg", "asyncpg") for kind in KINDS),
    "sqlalchemy+psycopg in threads",
    *(
        f"sqlalchemy+{driver} on {kind}"
        for driver in ("psycopg", "asyncpg")
        for kind in KINDS
    ),
]


class Stack(Protocol):
    """One driver where it runs."""

    server: Server
    canceled: type[Exception]  # the driver's error for a statement that was canceled
    aborted: type[Exception]  # the driver's error for a transaction that has failed
    error: type[Exception]  # the base of all that the server answers
    in_tasks: bool
    lets_go: bool  # errors of the library hold nothing, once they are handled

    def connect(self, url: str = "") -> Any: ...
    def pool(self, size: int, url: str = "") -> Any: ...
    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any: ...
    def guard(self, ctx: Context, conn: Any) -> Any: ...
    def pid(self, conn: Any) -> int: ...
    async def execute(self, ctx: Context, source: Any, sql: str) -> Any: ...
    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any: ...
    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any: ...
    async def plain(self, conn: Any, sql: str) -> None: ...
    async def together(self, *jobs: Job[T]) -> list[T | BaseException]: ...


def play(name: str, server: Server, test: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Run a test on the stack of this name."""
    driver, _, where = name.partition(" ")
    stack: Any
    if driver.startswith("sqlalchemy"):
        from tests.ext.alchemy import AlchemyInTasks, AlchemyInThreads

        if where == "in threads":
            return drive(test(AlchemyInThreads(server)))
        stack = AlchemyInTasks(server, driver.partition("+")[2])
    elif where == "in threads":
        return drive(test(Threads(server)))
    else:
        stack = Tasks(server) if driver == "psycopg" else Asyncpg(server)

    async def main() -> T:
        async with asyncio.timeout(2 * LONG):
            result = await test(stack)
            # What the drivers do by themselves to end a connection, and nothing else.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others)
            return result

    return Run(where.removeprefix("on "))(main)


def drive(work: Coroutine[Any, Any, T]) -> T:
    try:
        work.send(None)
    except StopIteration as exc:
        result: T = exc.value
        return result
    raise AssertionError("a test in threads was suspended")


# -- psycopg in threads --------------------------------------------------------------


@asynccontextmanager
async def plainly(block: Any) -> AsyncIterator[Any]:
    with block as value:
        yield value


class Threads:
    in_tasks = False
    lets_go = True
    canceled: type[Exception] = psycopg.errors.QueryCanceled
    aborted: type[Exception] = psycopg.errors.InFailedSqlTransaction
    error: type[Exception] = psycopg.Error

    def __init__(self, server: Server) -> None:
        self.server = server

    def connect(self, url: str = "") -> Any:
        url = url or self.server.url
        return plainly(closing(psycopg.connect(url, autocommit=True)))

    def pool(self, size: int, url: str = "") -> Any:
        @contextmanager
        def opened() -> Iterator[Any]:
            pool = psycopg_pool.ConnectionPool(
                url or self.server.url, min_size=size, max_size=size, open=False
            )
            with pool:
                pool.wait(LONG)
                yield pool

        return plainly(opened())

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        return plainly(for_psycopg.transaction(ctx, source, **options))

    def guard(self, ctx: Context, conn: Any) -> Any:
        return plainly(for_psycopg.guard(ctx, conn))

    def pid(self, conn: Any) -> int:
        return conn.info.backend_pid  # type: ignore[no-any-return]

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        return for_psycopg.execute(ctx, source, sql)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        return for_psycopg.fetch_one(ctx, source, sql)

    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any:
        return for_psycopg.fetch_all(ctx, source, sql)

    async def plain(self, conn: Any, sql: str) -> None:
        conn.execute(sql)

    async def together(self, *jobs: Job[T]) -> list[T | BaseException]:
        def body(job: Job[T], outcome: Future[T]) -> None:
            try:
                outcome.set_result(drive(job()))
            except BaseException as exc:
                outcome.set_exception(exc)

        outcomes: list[Future[T]] = [Future() for _ in jobs]
        threads = [
            threading.Thread(target=body, args=pair)
            for pair in zip(jobs, outcomes, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        return [outcome.exception(0) or outcome.result(0) for outcome in outcomes]


# -- in tasks ------------------------------------------------------------------------


class InTasks:
    in_tasks = True
    lets_go = True

    def __init__(self, server: Server) -> None:
        self.server = server

    async def together(self, *jobs: Job[T]) -> list[T | BaseException]:
        return await asyncio.gather(*(job() for job in jobs), return_exceptions=True)


class Tasks(InTasks):
    canceled: type[Exception] = psycopg.errors.QueryCanceled
    aborted: type[Exception] = psycopg.errors.InFailedSqlTransaction
    error: type[Exception] = psycopg.Error

    @asynccontextmanager
    async def connect(self, url: str = "") -> AsyncIterator[Any]:
        conn = await psycopg.AsyncConnection.connect(
            url or self.server.url, autocommit=True
        )
        try:
            yield conn
        finally:
            await conn.close()

    @asynccontextmanager
    async def pool(self, size: int, url: str = "") -> AsyncIterator[Any]:
        pool = psycopg_pool.AsyncConnectionPool(
            url or self.server.url, min_size=size, max_size=size, open=False
        )
        async with pool:
            await pool.wait(LONG)
            yield pool

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        return for_psycopg.transaction(ctx, source, **options)

    def guard(self, ctx: Context, conn: Any) -> Any:
        return for_psycopg.guard(ctx, conn)

    def pid(self, conn: Any) -> int:
        return conn.info.backend_pid  # type: ignore[no-any-return]

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_psycopg.execute_async(ctx, source, sql)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_psycopg.fetch_one_async(ctx, source, sql)

    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_psycopg.fetch_all_async(ctx, source, sql)

    async def plain(self, conn: Any, sql: str) -> None:
        await conn.execute(sql)


class Asyncpg(InTasks):
    canceled: type[Exception] = asyncpg.QueryCanceledError
    aborted: type[Exception] = asyncpg.InFailedSQLTransactionError
    error: type[Exception] = asyncpg.PostgresError

    @asynccontextmanager
    async def connect(self, url: str = "") -> AsyncIterator[Any]:
        conn = await asyncpg.connect(url or self.server.url)
        try:
            yield conn
        finally:
            await conn.close()

    @asynccontextmanager
    async def pool(self, size: int, url: str = "") -> AsyncIterator[Any]:
        async with asyncpg.create_pool(
            url or self.server.url, min_size=size, max_size=size
        ) as pool:
            yield pool

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        return for_asyncpg.transaction(ctx, source, **options)

    def guard(self, ctx: Context, conn: Any) -> Any:
        return for_asyncpg.guard(ctx, conn)

    def pid(self, conn: Any) -> int:
        return conn.get_server_pid()  # type: ignore[no-any-return]

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_asyncpg.execute(ctx, source, sql)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_asyncpg.fetch_one(ctx, source, sql)

    async def fetch_all(self, ctx: Context, source: Any, sql: str) -> Any:
        return await for_asyncpg.fetch_all(ctx, source, sql)

    async def plain(self, conn: Any, sql: str) -> None:
        await conn.execute(sql)
