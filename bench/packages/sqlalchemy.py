"""SQLAlchemy's asyncio engine, with a pool of one, on three drivers."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from bench.packages._handing import in_turns
from bench.packages._operation import Operation
from demo.databases.server import server

PACKAGE = "sqlalchemy"
Setup = Callable[[], AbstractAsyncContextManager[AsyncEngine]]


@asynccontextmanager
async def opened(url: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=5.0)
    try:
        yield engine
    finally:
        await engine.dispose()


def postgresql(driver: str) -> AbstractAsyncContextManager[AsyncEngine]:
    return opened(make_url(server().url).set(drivername=f"postgresql+{driver}"))


@asynccontextmanager
async def sqlite() -> AsyncIterator[AsyncEngine]:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(f"sqlite+aiosqlite:///{Path(folder) / 'db'}") as engine:
            yield engine


async def query(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        assert await connection.scalar(text("select 1")) == 1


async def session(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session, session.begin():
        assert await session.scalar(text("select 1")) == 1


async def three(engine: AsyncEngine) -> None:
    await in_turns(lambda: query(engine))


def all_are_back(engine: AsyncEngine) -> None:
    pool: Any = engine.pool
    assert pool.checkedout() == 0, pool.status()


def operations(
    driver: str, setup: Setup, needs: Callable[[], object] | None, shown_by: str
) -> list[Operation]:
    return [
        Operation(
            f"{driver}: {name}",
            op,
            setup,
            all_are_back,
            real_time=True,
            needs=needs,
            shown_by=shown_by,
        )
        for name, op in [
            ("query", query),
            ("session", session),
            ("three at once", three),
        ]
    ]


OPERATIONS = [
    *operations("aiosqlite", sqlite, None, "aiosqlite_connect"),
    *operations("asyncpg", lambda: postgresql("asyncpg"), server, "asyncpg_connect"),
    *operations("psycopg", lambda: postgresql("psycopg"), server, ""),
]
