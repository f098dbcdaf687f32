"""How one call of a driver ends with a context, for each driver.

A call is made in a thread, or in a greenlet of a task, from where SQLAlchemy's
`await_only` reaches the task. SQLAlchemy takes a `CancelledError` that comes out of a
driver for the end of the connection. When we have stopped the driver it has had its
answer, and the connection is in order: `Held` carries the interruption past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, final

from sqlalchemy import Dialect

from tether import Context, ContextError
from tether import _sqlite as sqlite
from tether._calls import instead_of
from tether._interrupt import is_ours
from tether._loops import running_loop
from tether._outlast import outlasting
from tether._postgres import Asyncpg, Psycopg, lost
from tether._stopping import stopping

from ._library import await_only, greenlet_spawn

T = TypeVar("T")

# By the names that SQLAlchemy has for their drivers.
PEERS: dict[str, type[Psycopg | Asyncpg]] = {"psycopg": Psycopg, "asyncpg": Asyncpg}


@final
class Held(Exception):
    """An interruption of the task, on its way through SQLAlchemy."""

    def __init__(self, interruption: asyncio.CancelledError) -> None:
        super().__init__("the context has ended")
        self._interruption: asyncio.CancelledError | None = interruption

    def take(self) -> asyncio.CancelledError:
        """It, once: what holds it would be held by it."""
        interruption, self._interruption = self._interruption, None
        assert interruption is not None
        return interruption


@contextmanager
def holding() -> Iterator[None]:
    """A block that raises `Held` in place of an interruption of ours."""
    try:
        yield
    except asyncio.CancelledError as exc:
        if is_ours(exc):
            raise Held(exc) from None
        raise


@final
class Driver:
    """The driver of an engine, and what is known of how to stop it."""

    def __init__(self, dialect: Dialect) -> None:
        self.in_tasks = dialect.is_async
        self.peer = PEERS.get(dialect.driver)  # None: not one of PostgreSQL's
        self.of_sqlite = dialect.driver in {"pysqlite", "aiosqlite"}

    def is_lost(self, conn: Any) -> bool:
        """Whether a connection is known to be closed."""
        return self.peer is not None and lost(raw_(conn))

    def within(self, ctx: Context, conn: Any, call: Callable[[], T]) -> T:
        """The result of a call on a connection, which ends when `ctx` ends."""
        raw = raw_(conn)
        if self.in_tasks:
            if self.peer is not None and not lost(raw):
                with holding():
                    return await_only(_stopped(ctx, self.peer(raw), conn, call))
            if self.of_sqlite:
                with holding():
                    return await_only(_in_its_thread(ctx, raw, call))
        elif running_loop() is None:
            if self.peer is not None and not lost(raw):
                with stopping(ctx, self.peer(raw)):
                    return call()
            if self.of_sqlite:
                return sqlite.call(ctx, raw, call)
        # Nothing is known, or it blocks a loop, where nothing may wait.
        with holding():
            ctx.check()
        result = call()
        with holding():
            ctx.check()
        return result


def raw_(conn: Any) -> Any:
    """The driver's connection behind one of SQLAlchemy's."""
    return getattr(conn, "driver_connection", conn)


async def _stopped(
    ctx: Context, peer: Psycopg | Asyncpg, conn: Any, call: Callable[[], T]
) -> T:
    try:
        async with stopping(ctx, peer):
            return await greenlet_spawn(call)
    except asyncio.CancelledError as exc:
        canceled = exc
        if not is_ours(exc):
            # Somebody else has canceled the task, which its driver has passed on.
            try:
                await outlasting(peer.settle())
            except asyncio.CancelledError as again:
                canceled = again
            if not _in_order(peer, conn):
                raise
        raise Held(canceled) from None


def _in_order(peer: Psycopg | Asyncpg, conn: Any) -> bool:
    raw = raw_(conn)
    if lost(raw) or peer.busy():
        return False
    # SQLAlchemy forgets the transaction of asyncpg's whose begin was canceled.
    adapted = getattr(conn, "dbapi_connection", conn)
    knows = getattr(adapted, "_transaction", True) is not None
    return isinstance(peer, Psycopg) or knows or not raw.is_in_transaction()


async def _in_its_thread(ctx: Context, db: Any, call: Callable[[], T]) -> T:
    """As in a thread, in the one that aiosqlite has for its connection.

    All that it does goes through `Connection._execute` (0.17 to 0.22).
    """

    def execute(fn: Callable[..., object], *args: Any, **kwargs: Any) -> Awaitable[Any]:
        work = partial(fn, *args, **kwargs)
        done: Awaitable[Any] = type(db)._execute(db, sqlite.call, scope, db._conn, work)
        return done

    ctx.check()
    # Not interrupted: the thread will tell what has come of it. It notices, too, when
    # this is left because somebody else has canceled the task.
    scope = ctx.with_cancel()
    try:
        shield = ctx.without_cancel()  # tether: ignore[detached-without-limit]
        with shield.with_cancel():
            db._execute = execute
            try:
                return await greenlet_spawn(call)
            finally:
                del db._execute
                scope.cancel()
    except ContextError as exc:
        instead_of(exc.__cause__ or exc, ctx)
        raise
