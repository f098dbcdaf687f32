"""sqlite3 and aiosqlite: statements that end when their context ends.

    row = fetch_one(ctx, conn, "select name from users where id = ?", (7,))

`execute`, `fetch_one` and `fetch_all` are for threads; `execute_async` and its two
siblings do the same on an aiosqlite connection. `guard` is for code that has a
connection in hand and calls it by itself, or through a library.

When the context ends, a statement that computes is interrupted, and one that waits for
a lock gives up. Either way the caller gets the context's error, with SQLite's as its
`__cause__`. SQLite's own errors pass as they are, and a statement that was done all the
same keeps its result.

How, and why not otherwise:

- `Connection.interrupt()` does nothing between two statements, so one interrupt may
  come too early. It is repeated for as long as the block lasts. A progress handler,
  the usual cure, needs the GIL every few thousand steps of SQLite's machine: beside one
  thread that computes it made a query of 0.5 s take 110 s.
- Nothing interrupts SQLite's wait for a lock. So SQLite may wait only for a moment, and
  we wait in its place, with the context. When it says "locked" before that moment is
  over, it has seen that waiting cannot help (two transactions, each waiting for the
  other), and then we do not wait either.

What changes on the connection is its busy timeout, and it is put back.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar
from typing import cast as _cast

from tether import Context, ContextError, Scope

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
P = ParamSpec("P")

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
    return _call(ctx, conn, lambda: conn.execute(sql, _cast("Sequence[str]", params)))


def fetch_all(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters = ()
) -> list[Row]:
    """All rows of a query, read to the end within `ctx`."""

    def ask() -> list[Row]:
        return conn.execute(sql, _cast("Sequence[str]", params)).fetchall()

    return _call(ctx, conn, ask)


def fetch_one(
    ctx: Context, conn: sqlite3.Connection, sql: str, params: Parameters = ()
) -> Row | None:
    """The first row of a query, None if there is none; found within `ctx`."""

    def ask() -> Row | None:
        cursor = conn.execute(sql, _cast("Sequence[str]", params))
        try:
            return _cast("Row | None", cursor.fetchone())
        finally:
            cursor.close()  # else the statement holds its lock

    return _call(ctx, conn, ask)


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
    return _Guard(ctx, conn, None)


# SQLite waits this long for a lock before we are asked. Its shortest sleep is 1 ms.
_MOMENT = 0.001
_LONGEST_PAUSE = 0.025
_INTERRUPT_AGAIN = 0.005


class _Guard:
    """What is in force on a connection while a block of ours runs."""

    __slots__ = ("_conn", "_ctx", "_interrupting", "_left", "_set", "_wait", "patience")

    def __init__(
        self, ctx: Context, conn: sqlite3.Connection, wait: float | None
    ) -> None:
        self._ctx = ctx
        self._conn = conn
        self._wait = wait  # how long SQLite may wait for a lock; None: until deadline
        self._set = False
        self.patience = 0.0  # how long the connection would have waited

    def __enter__(self) -> sqlite3.Connection:
        self._left = threading.Lock()
        self._left.acquire()
        self._interrupting = self._ctx.interrupting(self._interrupt)
        self._interrupting.__enter__()
        try:
            self.patience = _busy_timeout(self._conn)
            wait = self._ctx.remaining() if self._wait is None else self._wait
            if wait < self.patience:
                _set_busy_timeout(self._conn, wait)
                self._set = True
        except BaseException as exc:
            self._leave()
            self._translate(exc)
            raise
        return self._conn

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._leave()
        if self._set:
            try:
                _set_busy_timeout(self._conn, self.patience)
            except sqlite3.Error:
                pass  # closed in the block, or an open cursor was interrupted as well
        if exc is not None:
            self._translate(exc)

    def _interrupt(self) -> None:
        """Runs in a thread of tether's, from the end of `ctx` to that of the block."""
        pause = _INTERRUPT_AGAIN
        while True:
            try:
                self._conn.interrupt()
            except sqlite3.ProgrammingError:
                return  # closed
            if self._left.acquire(timeout=pause):
                return
            pause = min(pause * 2, 0.1)

    def _leave(self) -> None:
        self._left.release()
        try:
            # Waits for an interrupt that is under way: it would hit the next statement.
            self._interrupting.__exit__(None, None, None)
        except ContextError:
            pass  # the outcome of the block says more: a commit that was done is done

    def _translate(self, exc: BaseException) -> None:
        if not isinstance(exc, sqlite3.OperationalError):
            return
        if _code(exc) & 0xFF not in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY}:
            return
        error = self._ctx.err()
        if error is None:
            return  # not ours: somebody else's interrupt, a lock held for too long
        if exc.__cause__ is None:
            exc.__cause__ = error.__cause__  # why the context ended stays in the chain
        raise error from exc


def _call(ctx: Context, conn: sqlite3.Connection, ask: Callable[[], T]) -> T:
    """Ask, and again while there is a lock, as long as `ctx` and `conn` allow."""
    guarded = _Guard(ctx, conn, _MOMENT)
    waiting: Scope | None = None
    pause = _MOMENT
    with guarded:
        try:
            while True:
                began = time.monotonic()
                in_transaction = conn.in_transaction
                try:
                    return ask()
                except sqlite3.OperationalError as exc:
                    if in_transaction and not conn.in_transaction:
                        raise  # rolled back: this statement alone would be half of it
                    if not _may_come_free(exc, time.monotonic() - began):
                        raise
                    if waiting is None:
                        waiting = ctx.with_timeout(guarded.patience)
                    elif waiting.done():
                        raise
                    if waiting.wait(pause) and ctx.done():
                        raise
                pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            if waiting is not None:
                waiting.cancel()


def _may_come_free(exc: sqlite3.OperationalError, took: float) -> bool:
    """Whether the statement has failed on a lock that somebody may give back."""
    code = _code(exc)
    if code & 0xFF != sqlite3.SQLITE_BUSY or code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return False
    return took >= _MOMENT  # else SQLite did not think it worth waiting


def _code(exc: sqlite3.Error) -> int:
    # Errors that did not come out of SQLite have none.
    return getattr(exc, "sqlite_errorcode", 0)


# Plain cursors: the connection's row factory and subclass are not asked.


def _busy_timeout(conn: sqlite3.Connection) -> float:
    row = sqlite3.Cursor(conn).execute("pragma busy_timeout").fetchone()
    return int(row[0]) / 1000


def _set_busy_timeout(conn: sqlite3.Connection, seconds: float) -> None:
    # No parameters in a pragma; rounded up, because 0 would mean: do not wait.
    sqlite3.Cursor(conn).execute(f"pragma busy_timeout={-int(-seconds * 1000 // 1)}")


# -- in a task -----------------------------------------------------------------------


async def execute_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> aiosqlite.Cursor:
    """The cursor of a statement that was run within `ctx`; for one without rows."""
    cursor = await _in_its_thread(ctx, db, execute, sql, params)
    wrapped: aiosqlite.Cursor = _aiosqlite().Cursor(db, cursor)
    return wrapped


async def fetch_all_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> list[Row]:
    """All rows of a query, read to the end within `ctx`.

    Also when the task is canceled by somebody else, the statement is interrupted, and
    the connection is free for the next one.
    """
    return await _in_its_thread(ctx, db, fetch_all, sql, params)


async def fetch_one_async(
    ctx: Context, db: aiosqlite.Connection, sql: str, params: Parameters = ()
) -> Row | None:
    """The first row of a query, None if there is none; found within `ctx`."""
    return await _in_its_thread(ctx, db, fetch_one, sql, params)


async def _in_its_thread(
    ctx: Context,
    db: aiosqlite.Connection,
    call: Callable[Concatenate[Context, sqlite3.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run one of the functions above in the thread of an aiosqlite connection.

    `_execute` and `_conn` are aiosqlite's own way to do that (0.17 to 0.22). What is
    public can interrupt a connection, and cannot tell whose statement is running on it:
    the interrupt would hit the neighbor's.
    """
    _aiosqlite()
    # Left when the task is canceled, by whomever: then the thread notices.
    with ctx.with_cancel() as scope:
        try:
            run: Callable[..., Awaitable[T]] = db._execute
            done = await run(call, scope, db._conn, *args, **kwargs)
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
