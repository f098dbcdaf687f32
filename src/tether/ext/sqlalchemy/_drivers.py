"""How one call of a driver ends with a context, for each driver.

A call is made in a thread, or in a greenlet of a task, from where SQLAlchemy's
`await_only` reaches the task. There it is made in a task of its own, which nothing
interrupts: whoever cancels, the server is asked to stop, and its answer is read. So the
connection is in order. But SQLAlchemy takes a `CancelledError` that comes out of a
driver for the end of the connection: `Held` carries it past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, final

from sqlalchemy import Dialect

from tether import Context
from tether import _sqlite as sqlite
from tether._loops import running_loop
from tether._outlast import apart
from tether._postgres import Asyncpg, Psycopg, lost
from tether._stopping import stopping

from ._library import await_only, greenlet_spawn

T = TypeVar("T")

# By the names that SQLAlchemy has for their drivers.
PEERS: dict[str, type[Psycopg | Asyncpg]] = {"psycopg": Psycopg, "asyncpg": Asyncpg}


class Apart(Protocol):
    """`apart`, or `alone`."""

    async def __call__(
        self, ctx: Context, work: Callable[[Context], Coroutine[Any, Any, T]], /
    ) -> T: ...


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
    """A block that raises `Held` in place of an interruption."""
    try:
        yield
    except asyncio.CancelledError as exc:
        raise Held(exc) from None


@final
class Driver:
    """The driver of an engine, and what is known of how to stop it."""

    def __init__(self, dialect: Dialect) -> None:
        self.in_tasks = dialect.is_async
        self.peer = PEERS.get(dialect.driver)  # None: not one of PostgreSQL's
        self.of_sqlite = dialect.driver in {"pysqlite", "aiosqlite"}
        # The rows of others are there when a statement is done.
        self.fetches_late = dialect.driver == "pysqlite"

    def is_lost(self, conn: Any) -> bool:
        """Whether a connection is known to be closed."""
        return self.peer is not None and lost(raw_(conn))

    def within(
        self, ctx: Context, conn: Any, call: Callable[[], T], *, apart: Apart = apart
    ) -> T:
        """The result of a call on a connection, which ends when `ctx` ends.

        `apart` is `alone` in a task that nothing interrupts anyway.
        """
        raw = raw_(conn)
        peer = None if self.peer is None or lost(raw) else self.peer
        if self.in_tasks:
            if peer is not None:
                with holding():
                    return await_only(apart(ctx, partial(_stopped, peer, raw, call)))
            if self.of_sqlite:
                with holding():
                    return await_only(apart(ctx, partial(_in_thread, raw, call)))
        elif running_loop() is None:
            if peer is not None:
                with stopping(ctx, peer(raw)):
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


async def alone(ctx: Context, work: Callable[[Context], Coroutine[Any, Any, T]]) -> T:
    """In the place of `apart`."""
    return await work(ctx)


def raw_(conn: Any) -> Any:
    """The driver's connection behind one of SQLAlchemy's."""
    return getattr(conn, "driver_connection", conn)


async def _stopped(
    peer: type[Psycopg | Asyncpg], raw: Any, call: Callable[[], T], ctx: Context
) -> T:
    async with stopping(ctx, peer(raw)):
        return await greenlet_spawn(call)


async def _in_thread(db: Any, call: Callable[[], T], ctx: Context) -> T:
    """As in a thread, in the one that aiosqlite has for its connection."""
    ctx.check()
    task = asyncio.current_task()
    execute = vars(db).get("_execute")
    if execute is None:
        execute = db._execute = Execute(db)
    before = execute.contexts.get(task)
    execute.contexts[task] = ctx
    try:
        return await greenlet_spawn(call)
    finally:
        if before is not None:
            execute.contexts[task] = before
        else:
            del execute.contexts[task]
            if not execute.contexts:
                del db._execute


@final
class Execute:
    """Stands on an aiosqlite connection for `_execute`, by which all of it goes.

    (In aiosqlite 0.17 to 0.22.) Tasks may share the connection, as those of a database
    in memory do: each call is made within the context of its own task, if it has one.
    """

    def __init__(self, db: Any) -> None:
        self._db = db
        self.contexts: dict[asyncio.Task[Any] | None, Context] = {}

    def __call__(
        self, fn: Callable[..., object], *args: Any, **kwargs: Any
    ) -> Awaitable[Any]:
        db, ctx = self._db, self.contexts.get(asyncio.current_task())
        work = partial(fn, *args, **kwargs)
        done: Awaitable[Any] = (
            type(db)._execute(db, work)
            if ctx is None
            else type(db)._execute(db, sqlite.call, ctx, db._conn, work)
        )
        return done
