"""SQLAlchemy and Django beside the drivers that `sql` measures."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench._measure import Where
from demo.databases.server import server
from tests.ext.alchemy import AlchemyInTasks, AlchemyInThreads, url_of
from tests.ext.stacks import Stack, Threads, plainly
from tether import Context, ContextError, background

BUDGET = 0.0018


def frameworks() -> dict[str, tuple[Callable[[], Stack], Where]]:
    return {
        "SQLAlchemy, psycopg, threads": (lambda: AlchemyInThreads(server()), "thread"),
        "SQLAlchemy, psycopg, asyncio": (alchemy("psycopg"), "asyncio"),
        "SQLAlchemy, asyncpg, asyncio": (alchemy("asyncpg"), "asyncio"),
        "Django, threads": (lambda: Django(server()), "thread"),
    }


def alchemy(driver: str) -> Callable[[], Stack]:
    return lambda: AlchemyInTasks(server(), driver)


class Django(Threads):
    """Its connection of this thread in the place of a pool."""

    def pool(self, size: int, url: str = "") -> Any:
        del size, url

        @contextmanager
        def opened() -> Iterator[Any]:
            import django
            from django.conf import settings

            if not settings.configured:
                settings.configure(DATABASES={"default": self.server.django})
                django.setup()
            from django.db import connections

            yield connections["default"]
            connections.close_all()

        return plainly(opened())

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        from tether.ext.django import transaction

        del source
        return plainly(transaction(ctx, **options))

    def pid(self, conn: Any) -> int:
        return super().pid(conn.connection)

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        await self.fetch_one(ctx, source, sql)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        from tether.ext.django import guard

        with guard(ctx, source), source.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone() if cursor.description else None


# -- the late cancel -----------------------------------------------------------------


def late_events(n: int) -> list[int]:
    """The usual recipe: a timer from before a statement until after it."""
    from sqlalchemy import event

    with connection() as conn:
        timers: list[threading.Timer] = []
        raw = conn.connection.driver_connection

        def before(*_: object) -> None:
            timers.append(threading.Timer(BUDGET, raw.cancel_safe))
            timers[-1].start()

        event.listen(conn, "before_cursor_execute", before)
        event.listen(conn, "after_cursor_execute", lambda *_: timers[-1].cancel())

        def ask(seconds: float) -> None:
            from sqlalchemy.exc import DBAPIError

            try:
                sleep(conn, seconds)
            except DBAPIError:
                pass

        killed = race(n, raw, ask)
        for timer in timers:
            timer.join()
    return [killed]


def late_alchemy(n: int) -> list[int]:
    from tether.ext.sqlalchemy import attach

    with connection() as conn:
        attach(conn.engine)

        def ask(seconds: float) -> None:
            try:
                with background().with_timeout(BUDGET):
                    sleep(conn, seconds)
            except ContextError:
                pass

        return [race(n, conn.connection.driver_connection, ask)]


@contextmanager
def connection() -> Iterator[Any]:
    from sqlalchemy import NullPool, create_engine

    engine = create_engine(
        url_of("psycopg", server().url),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as conn:
        yield conn


def sleep(conn: Any, seconds: float) -> None:
    from sqlalchemy import text

    conn.execute(text(f"select pg_sleep({seconds})"))


def race(n: int, raw: Any, ask: Callable[[float], None]) -> int:
    """How many innocent statements are killed that come just after one."""
    import psycopg

    killed = 0
    spread = random.Random(7)
    for _ in range(n):
        ask(0.0005 + spread.random() * 0.002)
        try:
            raw.execute("select pg_sleep(0.0015)")
        except psycopg.errors.QueryCanceled:
            killed += 1
    return killed
