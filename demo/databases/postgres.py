"""PostgreSQL: a server, and a pool of connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from demo.databases import Database
from tether import Context
from tether.ext.psycopg import execute, fetch_all, fetch_one, guard, transaction

CONNECTIONS = 8  # of a pod

Rows = Connection[TupleRow]


class Postgres:
    """A pool, or a connection of it that a transaction has."""

    def __init__(self, source: ConnectionPool[Rows] | Rows) -> None:
        self._source = source

    def execute(self, ctx: Context, sql: str, row: Sequence[object] = ()) -> None:
        execute(ctx, self._source, _spelled(sql), row)

    def execute_many(
        self, ctx: Context, sql: str, rows: Iterable[Sequence[object]]
    ) -> None:
        with transaction(ctx, self._source) as conn, guard(ctx, conn):
            conn.cursor().executemany(_spelled(sql), rows)

    def fetch_one(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> TupleRow | None:
        return fetch_one(ctx, self._source, _spelled(sql), row)

    def fetch_all(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> list[TupleRow]:
        return fetch_all(ctx, self._source, _spelled(sql), row)

    @contextmanager
    def transaction(self, ctx: Context) -> Iterator[Postgres]:
        with transaction(ctx, self._source) as conn:
            yield Postgres(conn)

    def close(self) -> None:
        self._source.close()


def _spelled(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def opened(url: str) -> Database:
    """The database at a URL; its connections are opened when they are needed."""
    pool: ConnectionPool[Rows] = ConnectionPool(
        url, min_size=0, max_size=CONNECTIONS, open=True
    )
    return Postgres(pool)
