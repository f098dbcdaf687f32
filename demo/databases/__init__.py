"""Where the shop's data are: a SQLite file, or PostgreSQL. Both are asked alike.

All of it is for threads, and every statement takes the context that it belongs to.
Parameters are question marks.

    sqlite.py      a file, and a connection for each thread
    postgres.py    a server, and a pool of connections
    server.py      a PostgreSQL of this process's own
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, cast

from tether import Context


class Row(Protocol):
    """What both libraries make of a row."""

    def __getitem__(self, key: int, /) -> object: ...
    def __iter__(self) -> Iterator[object]: ...


class Database(Protocol):
    """What the statements in `demo.data` are run on."""

    def execute(self, ctx: Context, sql: str, row: Sequence[object] = ()) -> None:
        """Run a statement."""

    def execute_many(
        self, ctx: Context, sql: str, rows: Iterable[Sequence[object]]
    ) -> None:
        """Run a statement once for each row."""

    def fetch_one(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> Row | None:
        """The first row of a query, None if there is none."""

    def fetch_all(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> Sequence[Row]:
        """All rows of a query."""

    def transaction(self, ctx: Context) -> AbstractContextManager[Database]:
        """A block that is written as a whole, commit included, or not."""

    def close(self) -> None:
        """Close the connections: those of a pool, or this thread's."""


def database(where: str) -> Database:
    """The one at a path, or at a URL that begins with postgresql:."""
    kind = "postgres" if where.startswith("postgresql:") else "sqlite"
    module = importlib.import_module(f"demo.databases.{kind}")
    return cast(Database, module.opened(where))
