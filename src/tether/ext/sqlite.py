"""sqlite3 and aiosqlite: statements that end when their context ends.

    row = fetch_one(ctx, conn, "select name from users where id = ?", (7,))

`execute`, `fetch_one` and `fetch_all` are for threads; `execute_async` and its two
siblings do the same on an aiosqlite connection. `guard` is for code that has a
connection in hand and calls it by itself, or through a library.

When the context ends, a statement that computes is interrupted, and one that waits for
a lock gives up. Either way the caller gets the context's error, with SQLite's as its
`__cause__`. SQLite's own errors pass as they are, and a statement that was done all the
same keeps its result.

`tether._sqlite` says how. What changes on the connection is its busy timeout, and it is
put back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar
from typing import cast as _cast

from tether import Context, ContextError
from tether._calls import statement
from tether._sqlite import Guard, call

if TYPE_CHECKING:
    import aiosqlite

__all__ = [
    "Parameters",
    "Row",
    "execute",
    "execute_async",
    "fetch_all",
    "fetch_all_async",
    "fetch_one",
    "fetch_one_async",
    "guard",
]

T = TypeVar("T")

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]


class Row(Protocol):
    """One row: by position, and by name if the connection's row factory allows it."""

    def __getitem__(self, key: int | str, /) -> object: ...
    def __iter__(self) -> Iterator[object]: ...
    def __len__(self) -> int: ...


# -- in a thread ---------------------------------------------------------------------


def execute(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters = ()
) -> sqlite3.Cursor:
    """The cursor of a statement that was run within `ctx`; for one without rows.

    Fetching from that cursor later is not covered any more: `fetch_all` is for rows,
    `guard` for a loop over them. `commit` waits for locks too, so inside a transaction
    that matters end it with `execute(ctx, conn, "commit")`.
    """
    with statement(ctx, "sqlite", sql):
        return _execute(ctx, conn, sql, params)


def fetch_all(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters = ()
) -> list[Row]:
    """All rows of a query, read to the end within `ctx`."""
    with statement(ctx, "sqlite", sql):
        return _fetch_all(ctx, conn, sql, params)


def fetch_one(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters = ()
) -> Row | None:
    """The first row of a query, None if there is none; found within `ctx`."""
    with statement(ctx, "sqlite", sql):
        return _fetch_one(ctx, conn, sql, params)


def guard(
    ctx: Context, conn: sqlite3.Connection
) -> AbstractContextManager[sqlite3.Connection]:
    """A block in which whatever runs on `conn` ends when `ctx` ends.

    Inside it SQLite itself waits for locks: as long as the connection allows, and not
    beyond the deadline of `ctx`. If `ctx` is canceled meanwhile, such a wait notices
    only at its end; the functions of this module notice at once, in the block too.

    A write that is interrupted inside a transaction rolls the whole transaction back
    (that is SQLite's rule). Cursors that are still open on the connection are
    interrupted as well.
    """
    return Guard(ctx, conn, None)


# -- as they are, in whichever thread --------------------------------------------------


def _execute(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters
) -> sqlite3.Cursor:
    return call(ctx, conn, lambda: conn.execute(sql, _cast("Sequence[str]", params)))


def _fetch_all(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters
) -> list[Row]:
    def ask() -> list[Row]:
        return conn.execute(sql, _cast("Sequence[str]", params)).fetchall()

    return call(ctx, conn, ask)


def _fetch_one(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters
) -> Row | None:
    def ask() -> Row | None:
        cursor = conn.execute(sql, _cast("Sequence[str]", params))
        try:
            return _cast("Row | None", cursor.fetchone())
        finally:
            cursor.close()  # else the statement holds its lock

    return call(ctx, conn, ask)


# -- in a task -----------------------------------------------------------------------


async def execute_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> aiosqlite.Cursor:
    """The cursor of a statement that was run within `ctx`; for one without rows."""
    cursor = await _in_its_thread(ctx, db, _execute, sql, params)
    wrapped: aiosqlite.Cursor = _aiosqlite().Cursor(db, cursor)
    return wrapped


async def fetch_all_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> list[Row]:
    """All rows of a query, read to the end within `ctx`.

    Also when the task is canceled by somebody else, the statement is interrupted, and
    the connection is free for the next one.
    """
    return await _in_its_thread(ctx, db, _fetch_all, sql, params)


async def fetch_one_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> Row | None:
    """The first row of a query, None if there is none; found within `ctx`."""
    return await _in_its_thread(ctx, db, _fetch_one, sql, params)


async def _in_its_thread(
    ctx: Context,
    db: aiosqlite.Connection,
    ask: Callable[[Context, sqlite3.Connection, str, Parameters], T],
    sql: str,
    params: Parameters,
) -> T:
    """Run one of the functions above in the thread of an aiosqlite connection.

    `_execute` and `_conn` are aiosqlite's own way to do that (0.17 to 0.22). What is
    public can interrupt a connection, and cannot tell whose statement is running on it:
    the interrupt would hit the neighbor's.
    """
    _aiosqlite()
    # Left when the task is canceled, by whomever: then the thread notices.
    with statement(ctx, "sqlite", sql), ctx.with_cancel() as scope:
        try:
            run: Callable[..., Awaitable[T]] = db._execute
            done = await run(ask, scope, db._conn, sql, params)
        except ContextError:
            scope.check()  # as the interruption, if a block around us has ended
            raise
    return done


def _aiosqlite() -> ModuleType:
    try:
        import aiosqlite
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "the async functions of tether.ext.sqlite need aiosqlite: "
            'pip install "tether[aiosqlite]"',
            name="aiosqlite",
        ) from exc
    return aiosqlite
