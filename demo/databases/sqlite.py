"""SQLite: a file, and a connection for each thread."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from demo.databases import Database
from tether import Context
from tether.ext.sqlite import Row, execute, fetch_all, fetch_one, guard


class Connection(sqlite3.Connection):
    """One that is closed when nobody has it any more: when its thread has ended."""

    def __del__(self) -> None:
        self.close()


class SQLite:
    """A file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._of_thread = threading.local()

    def _connection(self, ctx: Context) -> Connection:
        db: Connection | None = getattr(self._of_thread, "db", None)
        if db is None:
            # Interrupted from another thread, used by this one only.
            db = sqlite3.connect(
                self._path,
                check_same_thread=False,
                isolation_level=None,
                factory=Connection,
            )
            execute(ctx, db, "pragma journal_mode = wal")
            execute(ctx, db, "pragma cache_size = -200")
            execute(ctx, db, "pragma synchronous = normal")
            self._of_thread.db = db
        return db

    def execute(self, ctx: Context, sql: str, row: Sequence[object] = ()) -> None:
        execute(ctx, self._connection(ctx), sql, row)

    def execute_many(
        self, ctx: Context, sql: str, rows: Iterable[Sequence[object]]
    ) -> None:
        db = self._connection(ctx)
        with guard(ctx, db):
            db.executemany(sql, rows)

    def fetch_one(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> Row | None:
        return fetch_one(ctx, self._connection(ctx), sql, row)

    def fetch_all(
        self, ctx: Context, sql: str, row: Sequence[object] = ()
    ) -> Sequence[Row]:
        return fetch_all(ctx, self._connection(ctx), sql, row)

    @contextmanager
    def transaction(self, ctx: Context) -> Iterator[Self]:
        db = self._connection(ctx)
        execute(ctx, db, "begin immediate")
        try:
            yield self
            execute(ctx, db, "commit")
        except BaseException:
            db.rollback()  # nothing if the interrupted statement has done so
            raise

    def close(self) -> None:
        db: Connection | None = getattr(self._of_thread, "db", None)
        if db is not None:
            db.close()
            del self._of_thread.db


def opened(path: str) -> Database:
    """The database in a file."""
    return SQLite(path)
