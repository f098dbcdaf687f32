"""The shop's SQLite file, and connections whose running statements are counted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from demo.stats import query_runs

USERS = 1000

FIND_USER = "select id, name from users where id = ?"
# Adds up numbers for some seconds: a report that nobody has given an index.
REPORT = """
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000000)
    select count(*), sum(i) from n
"""

T = TypeVar("T")


def create(database: str) -> None:
    """Make the file, with its users."""
    with closing(sqlite3.connect(database)) as conn, conn:
        conn.execute("create table users (id integer primary key, name text not null)")
        users = [(uid, f"user {uid}") for uid in range(1, USERS + 1)]
        conn.executemany("insert into users values (?, ?)", users)


def connect(database: str) -> sqlite3.Connection:
    """A connection like any other, except that its statements are counted."""
    return sqlite3.connect(database, factory=Connection)


class Cursor(sqlite3.Cursor):
    def execute(self, sql: str, params: Sequence[Any] | Any = (), /) -> Cursor:
        with query_runs():
            super().execute(sql, params)
        return self

    def fetchone(self) -> Any:
        with query_runs():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with query_runs():
            return super().fetchall()


class Connection(sqlite3.Connection):
    def cursor(self, factory: Callable[..., Any] = Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, params: Sequence[Any] | Any = (), /) -> Cursor:
        cursor: Cursor = self.cursor().execute(sql, params)
        return cursor
