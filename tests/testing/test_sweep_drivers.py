"""tether's integrations, ended at every place beside real servers: no finding.

What is checked besides: no statement is left in the server, and the only connection of
the pool can be used again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import asyncpg
import psycopg
import psycopg_pool
import pytest
import redis
import redis.asyncio
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from demo.databases import server as postgres
from tests.ext import redis_server
from tests.ext.alchemy import url_of
from tests.ext.upstream import Upstream, upstream
from tether import Context, current, merge
from tether.ext import asyncpg as ext_asyncpg
from tether.ext import psycopg as ext_psycopg
from tether.ext import redis as ext_redis
from tether.ext import requests as ext_requests
from tether.ext import sqlalchemy as ext_sqlalchemy
from tether.ext.wsgi import ContextWSGI
from tether.testing import Report, sweep

pytestmark = pytest.mark.tether_leaks(off=True)  # the sweep looks itself

SHORT = "select pg_sleep(0.002)"


# What the libraries do by themselves, without tether as well.
THEIRS = {
    # asyncpg, when it is canceled while it turns to TLS.
    "left behind: exception never retrieved: ConnectionError: unexpected "
    "connection_lost() call": "_create_ssl_connection",
}
if sys.version_info < (3, 12):
    # asyncio.wait_for, in which redis-py sends: cpython#86296.
    THEIRS["it swallows the cancel, and finishes as if none came"] = "wait_for"


def nothing_is_wrong(report: Report, at_least: int) -> None:
    ours = [
        one
        for one in report.findings
        if THEIRS.get(one.problem.partition("\n")[0], "\0") not in "".join(one.chain)
    ]
    assert not ours, str(report)
    # Whether an answer has to be waited for is up to the server, so some places come
    # and go; but the operation works when nobody ends it.
    assert not [one for one in report.unresolved if one.startswith("without")]
    assert len(report.delivered) >= at_least, str(report)


# -- PostgreSQL ------------------------------------------------------------------------


@asynccontextmanager
async def psycopg_pool_of_one() -> AsyncIterator[Any]:
    pool: psycopg_pool.AsyncConnectionPool
    pool = psycopg_pool.AsyncConnectionPool(
        postgres.server().url, min_size=1, max_size=1, open=False
    )
    async with pool:
        await pool.wait()
        yield pool


async def with_psycopg(ctx: Context, pool: Any) -> None:
    assert await ext_psycopg.fetch_one_async(ctx, pool, "select 7") == (7,)
    async with ext_psycopg.transaction(ctx, pool) as connection:
        await ext_psycopg.execute_async(ctx, connection, SHORT)
        await ext_psycopg.execute_async(ctx, connection, "select 8")


@asynccontextmanager
async def asyncpg_pool_of_one() -> AsyncIterator[Any]:
    async with asyncpg.create_pool(
        postgres.server().url, min_size=1, max_size=1
    ) as pool:
        yield pool


async def with_asyncpg(ctx: Context, pool: Any) -> None:
    assert await ext_asyncpg.fetch_one(ctx, pool, "select 7") == (7,)
    async with ext_asyncpg.transaction(ctx, pool) as connection:
        await ext_asyncpg.execute(ctx, connection, SHORT)
        await ext_asyncpg.execute(ctx, connection, "select 8")


def engine_of_one(driver: str) -> Callable[[], object]:
    @asynccontextmanager
    async def setup() -> AsyncIterator[Any]:
        url = "sqlite+aiosqlite://"
        if driver != "aiosqlite":
            url = url_of(driver, postgres.server().url)
        engine = create_async_engine(
            url, pool_size=1, max_overflow=0, poolclass=AsyncAdaptedQueuePool
        )
        try:
            yield engine
        finally:
            await engine.dispose()

    return setup


async def with_sqlalchemy(ctx: Context, engine: Any) -> None:
    async with ext_sqlalchemy.transaction(ctx, engine) as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(sqlalchemy.text(SHORT))
        await connection.execute(sqlalchemy.text("select 8"))


async def nobody_holds_it(pool: Any) -> str:
    """The one connection can be had: the next call would wait for it."""
    async with asyncio.timeout(20.0):
        if isinstance(pool, psycopg_pool.AsyncConnectionPool):
            async with pool.connection() as one:
                await one.execute("select 1")
        elif isinstance(pool, asyncpg.Pool):
            await pool.fetch("select 1")
        else:
            async with pool.connect() as one:
                await one.execute(sqlalchemy.text("select 1"))
    return ""


@pytest.mark.parametrize(
    ("op", "setup"),
    [
        (with_psycopg, psycopg_pool_of_one),
        (with_asyncpg, asyncpg_pool_of_one),
        (with_sqlalchemy, engine_of_one("psycopg")),
        (with_sqlalchemy, engine_of_one("asyncpg")),
        (with_sqlalchemy, engine_of_one("aiosqlite")),
    ],
    ids=["psycopg", "asyncpg", "alchemy-psycopg", "alchemy-asyncpg", "alchemy-sqlite"],
)
def test_databases_in_tasks(
    op: Callable[..., object], setup: Callable[[], object]
) -> None:
    report = sweep(op, setup=setup, check=nobody_holds_it, real_time=True, limit=60.0)
    nothing_is_wrong(report, at_least=12)


@contextmanager
def psycopg_connection() -> Iterator[Any]:
    url = postgres.server().url
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


def psycopg_in_a_thread(ctx: Context, connection: Any) -> None:
    assert ext_psycopg.fetch_one(ctx, connection, "select 7") == (7,)
    with ext_psycopg.transaction(ctx, connection) as one:
        ext_psycopg.execute(ctx, one, SHORT)
        ext_psycopg.execute(ctx, one, "select 8")


@contextmanager
def engine_for_threads() -> Iterator[Any]:
    engine = sqlalchemy.create_engine(
        url_of("psycopg", postgres.server().url), pool_size=1, max_overflow=0
    )
    try:
        yield engine
    finally:
        engine.dispose()


def sqlalchemy_in_a_thread(ctx: Context, engine: Any) -> None:
    with ext_sqlalchemy.transaction(ctx, engine) as connection:
        connection.execute(sqlalchemy.text(SHORT))
        connection.execute(sqlalchemy.text("select 8"))


@pytest.mark.parametrize(
    ("op", "setup"),
    [
        (psycopg_in_a_thread, psycopg_connection),
        (sqlalchemy_in_a_thread, engine_for_threads),
    ],
    ids=["psycopg", "sqlalchemy"],
)
def test_databases_in_threads(
    op: Callable[..., object], setup: Callable[[], object]
) -> None:
    nothing_is_wrong(sweep(op, setup=setup, limit=60.0), at_least=6)


# -- Redis -----------------------------------------------------------------------------


@asynccontextmanager
async def redis_of_one() -> AsyncIterator[Any]:
    client = redis.asyncio.Redis.from_pool(
        redis.asyncio.BlockingConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection,
            path=redis_server.server().path,
            max_connections=1,
            timeout=20,
        )
    )
    try:
        await client.flushall()
        yield client
    finally:
        await client.aclose()


async def with_redis(ctx: Context, client: Any) -> None:
    call = ext_redis.call_async
    await call(ctx, client.set, "name", "ann")
    assert await call(ctx, client.get, "name") == b"ann"
    await call(ctx, client.rpush, "queue", "job")
    assert await call(ctx, client.blpop, ["queue"], 20) == (b"queue", b"job")


@contextmanager
def redis_for_threads() -> Iterator[Any]:
    with redis.Redis(unix_socket_path=redis_server.server().path) as client:
        client.flushall()
        yield ext_redis.follow(client)


def redis_in_a_thread(ctx: Context, client: Any) -> None:
    ext_redis.call(ctx, client.set, "name", "ann")
    assert ext_redis.call(ctx, client.get, "name") == b"ann"
    ext_redis.call(ctx, client.rpush, "queue", "job")
    popped = ext_redis.call(ctx, client.blpop, ["queue"], 20)
    assert popped == (b"queue", b"job")


def test_redis_in_tasks() -> None:
    report = sweep(with_redis, setup=redis_of_one, real_time=True, limit=60.0)
    nothing_is_wrong(report, at_least=6)


def test_redis_in_threads() -> None:
    report = sweep(redis_in_a_thread, setup=redis_for_threads, limit=60.0)
    nothing_is_wrong(report, at_least=4)


# -- HTTP ------------------------------------------------------------------------------


@contextmanager
def requests_session() -> Iterator[tuple[ext_requests.Session, Upstream]]:
    with upstream() as server, ext_requests.Session() as http:
        yield http, server


def with_requests(ctx: Context, state: tuple[ext_requests.Session, Upstream]) -> None:
    http, server = state
    assert http.get(ctx, server.url + "/ok").status_code == 200
    assert http.post(ctx, server.url + "/ok", data=b"x").status_code == 200


def test_requests() -> None:
    nothing_is_wrong(sweep(with_requests, setup=requests_session), at_least=4)


def application(environ: Any, start_response: Any) -> list[bytes]:
    ctx: Context = environ["test.ctx"]
    with merge(current(), ctx) as both:
        both.sleep(1.0)
        both.wait(1.0)
        both.check()
        start_response("200 OK", [])
    return [b"ok"]


def one_request(ctx: Context) -> None:
    told: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "test.ctx": ctx}
    served = ContextWSGI(application, timeout=30.0)

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        told.append(status)

    body: Any = served(environ, start)
    assert b"".join(body) == b"ok"
    assert told == ["200 OK"]


def test_the_wsgi_middleware() -> None:
    nothing_is_wrong(sweep(one_request), at_least=6)
