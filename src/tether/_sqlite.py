"""How a statement of SQLite ends with its context, for the integrations that use it.

Two things about SQLite are known from measurements:

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
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, final

from ._context import Context
from ._errors import ContextError, append_cause
from ._scope import Scope

T = TypeVar("T")

# SQLite waits this long for a lock before we are asked. Its shortest sleep is 1 ms.
_MOMENT = 0.001
_LONGEST_PAUSE = 0.025
_INTERRUPT_AGAIN = 0.005


@final
class Guard:
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
        if _code(exc) & 0xFF not in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY}:
            return
        error = self._ctx.err()
        if error is None:
            return  # not ours: somebody else's interrupt, a lock held for too long
        append_cause(exc, error.__cause__)  # why the context ended stays in the chain
        raise error from exc


def call(ctx: Context, conn: sqlite3.Connection, ask: Callable[[], T]) -> T:
    """Ask, and again while there is a lock, as long as `ctx` and `conn` allow."""
    guarded = Guard(ctx, conn, _MOMENT)
    waiting: Scope | None = None
    pause = _MOMENT
    with guarded:
        try:
            while True:
                began = time.monotonic()
                in_transaction = conn.in_transaction
                try:
                    return ask()
                except Exception as exc:
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


def _may_come_free(exc: Exception, took: float) -> bool:
    """Whether the statement has failed on a lock that somebody may give back."""
    code = _code(exc)
    if code & 0xFF != sqlite3.SQLITE_BUSY or code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return False
    return took >= _MOMENT  # else SQLite did not think it worth waiting


def _code(exc: BaseException) -> int:
    """SQLite's code for an error, or for what a library has raised it from; else 0."""
    for error in (exc, exc.__cause__):
        if isinstance(error, sqlite3.OperationalError):
            return getattr(error, "sqlite_errorcode", 0)
    return 0


# Plain cursors: the connection's row factory and subclass are not asked.


def _busy_timeout(conn: sqlite3.Connection) -> float:
    row = sqlite3.Cursor(conn).execute("pragma busy_timeout").fetchone()
    return int(row[0]) / 1000


def _set_busy_timeout(conn: sqlite3.Connection, seconds: float) -> None:
    # No parameters in a pragma; rounded up, because 0 would mean: do not wait.
    sqlite3.Cursor(conn).execute(f"pragma busy_timeout={-int(-seconds * 1000 // 1)}")
