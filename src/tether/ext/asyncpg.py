"""asyncpg: statements, transactions and pools that end with their context.

    row = await fetch_one(ctx, pool, "select name from users where id = $1", 7)

    async with transaction(ctx, pool) as conn:
        await execute(ctx, conn, "update accounts set ...")
        await execute(ctx, conn, "insert into ...")

`execute`, `fetch_one` and `fetch_all` take a connection or a pool, and the arguments of
the statement as asyncpg does. `guard` is for code that has a connection in hand and
calls it by itself, or through a library.

When the context ends, the statement is canceled in the server, which takes some
milliseconds and leaves the connection in order. If the server does not obey, the socket
is shut down after a grace of a second: the caller is back then, and the pool replaces
the connection. Either way what is raised is the context's error, with asyncpg's as its
`__cause__`. Errors of asyncpg's own pass as they are, those of an administrator's
cancel included, and a statement that was done all the same keeps its result.

A wait for a connection of a pool counts, too, and ends with the context.

Private in asyncpg (0.22 to 0.32), and used all the same: `_cancel_current_command` of a
connection asks the server without giving up the answer. What is public cancels the
task, asks once, and misses a server that is just between two messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

from tether import Context, ContextError
from tether._calls import instead_of, statement, translating
from tether._current import var as current
from tether._errors import CommitUnknown
from tether._line import context_
from tether._outlast import apart, at_once, outlasting
from tether._postgres import Asyncpg, limits
from tether._stopping import GRACE, stopping

try:
    import asyncpg
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.asyncpg needs asyncpg: pip install "tether[asyncpg]"',
        name="asyncpg",
    ) from None

__all__ = [
    "CommitUnknown",
    "Connection",
    "Pool",
    "Row",
    "execute",
    "fetch_all",
    "fetch_one",
    "guard",
    "transaction",
]

T = TypeVar("T")
_C = TypeVar("_C", bound="Connection")

ROLL_BACK = 1.0  # seconds for the roll-back
AGAIN, AGAIN_AT_MOST = 0.02, 0.1  # seconds between two requests to stop


# -- what asyncpg has no types for ----------------------------------------------------


class Row(Protocol):
    """One row, an `asyncpg.Record`: by position and by name."""

    def __getitem__(self, key: int | str, /) -> object: ...
    def __iter__(self) -> Iterator[object]: ...
    def __len__(self) -> int: ...


class Connection(Protocol):
    """An `asyncpg.Connection`, or one that a pool has lent."""

    async def execute(self, sql: str, /, *args: object) -> str: ...
    async def executemany(self, sql: str, args: Iterable[object], /) -> None: ...
    async def fetch(self, sql: str, /, *args: object) -> list[Row]: ...
    async def fetchrow(self, sql: str, /, *args: object) -> Row | None: ...
    async def fetchval(self, sql: str, /, *args: object) -> object: ...
    def get_server_pid(self) -> int: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...


class Pool(Protocol):
    """An `asyncpg.Pool`."""

    def acquire(self) -> Awaitable[object]: ...
    async def release(self, connection: object, /) -> None: ...


# -- statements ----------------------------------------------------------------------


async def execute(
    ctx: Context, source: Connection | Pool, sql: str, *args: object
) -> str:
    """The status of a statement that was run within `ctx`, as "INSERT 0 1"."""
    return await _call("execute", ctx, source, sql, lambda c: c.execute(sql, *args))


async def fetch_all(
    ctx: Context, source: Connection | Pool, sql: str, *args: object
) -> list[Row]:
    """All rows of a query, within `ctx`."""
    return await _call("fetch_all", ctx, source, sql, lambda c: c.fetch(sql, *args))


async def fetch_one(
    ctx: Context, source: Connection | Pool, sql: str, *args: object
) -> Row | None:
    """The first row of a query, None if there is none; within `ctx`."""
    return await _call("fetch_one", ctx, source, sql, lambda c: c.fetchrow(sql, *args))


async def _call(
    name: str,
    ctx: Context,
    source: Connection | Pool,
    sql: str,
    ask: Callable[[Connection], Awaitable[T]],
) -> T:
    async def alone(scope: Context) -> T:
        current.set(None)  # asyncpg's timers keep the variables of a task for minutes
        async with _lent(scope, source, alone=True) as conn:
            async with stopping(scope, _peer(conn)):
                return await ask(conn)

    _check(name, ctx, source)
    with statement(ctx, "postgresql", sql):
        return await apart(ctx, alone)


def _check(name: str, ctx: Context, source: object) -> None:
    context_(name, ctx)
    lent = asyncpg.pool.PoolConnectionProxy
    if not isinstance(source, asyncpg.Connection | asyncpg.Pool | lent):
        raise TypeError(
            f"{name}() takes a connection of asyncpg or a pool of them, not {source!r}"
        )


def _peer(conn: Any) -> Asyncpg:
    raw = getattr(conn, "_con", conn)  # what a pool lends belongs to nobody once lost
    if raw.is_closed():
        raise asyncpg.InterfaceError("connection is closed")
    return Asyncpg(raw)


def guard(ctx: Context, conn: _C) -> AbstractAsyncContextManager[_C]:
    """A block in which whatever runs on `conn` ends when `ctx` ends.

    It says nothing of transactions: one that is open then has failed, and is still to
    be rolled back.
    """
    _check("guard", ctx, conn)
    if isinstance(conn, asyncpg.Pool):
        raise TypeError("guard() takes a connection; for a pool there is transaction()")
    return _guarded(ctx, conn)


@asynccontextmanager
async def _guarded(ctx: Context, conn: _C) -> AsyncIterator[_C]:
    ctx.check()
    with _translating(ctx), ctx.with_cancel():
        try:
            yield conn
        except (asyncio.CancelledError, ContextError):
            await outlasting(_settle(conn))
            raise


def _translating(ctx: Context) -> translating:
    return translating(
        ctx, (asyncpg.QueryCanceledError, asyncpg.ConnectionDoesNotExistError)
    )


async def _settle(conn: Any) -> None:
    """Wait until the server has given the statement up, or give the connection up.

    asyncpg has asked it once, and whatever is sent next waits for its answer.
    """
    conn = getattr(conn, "_con", conn)
    if conn is None:
        return  # terminated, and back in its pool
    loop = asyncio.get_running_loop()
    waits = loop.create_task(conn.execute("select", timeout=GRACE))
    pause = AGAIN
    while not (await asyncio.wait((waits,), timeout=pause))[0]:
        told = loop.create_future()
        conn._cancel_current_command(told)
        await asyncio.wait((told,), timeout=GRACE)  # else it would hit the next one
        pause = min(2 * pause, AGAIN_AT_MOST)
    try:
        await waits
    except (asyncpg.PostgresError, asyncpg.InterfaceError):
        pass  # it has answered, is closed, or in use by somebody else
    except OSError:  # TimeoutError, too
        _terminate(conn)
    finally:
        del waits  # its error holds this frame


# -- transactions --------------------------------------------------------------------


def transaction(
    ctx: Context, source: Connection | Pool, *, belt: float | None = None
) -> AbstractAsyncContextManager[Connection]:
    """A block with a connection in a transaction, committed if the block succeeds.

    On an error, and when `ctx` ends, it is rolled back, and so it is if a statement has
    failed and the block has gone on regardless: nothing could be committed then. On a
    connection that is in a transaction already it is a savepoint. Whatever runs on the
    connection in the block ends with `ctx`, as in `guard`.

    Raises `CommitUnknown` if the connection is lost during the commit.

    `belt`: have the server limit each statement by itself, with `statement_timeout`, to
    what is left of `ctx` and so many seconds more. It works without us, for the day on
    which this process or the network stands still, and costs a round trip.
    """
    _check("transaction", ctx, source)
    return _transaction(ctx, source, belt)


@asynccontextmanager
async def _transaction(
    ctx: Context, source: Connection | Pool, belt: float | None
) -> AsyncIterator[Connection]:
    async with _lent(ctx, source) as conn:
        work: Any = conn.transaction()  # type: ignore[attr-defined]
        nested = conn.is_in_transaction()
        begun = committing = False

        async def begin() -> None:
            nonlocal begun
            async with stopping(ctx, _peer(conn)):
                await work.__aenter__()
                begun = True

        async def commit() -> None:
            nonlocal committing
            done = False
            try:
                async with stopping(ctx, _peer(conn)):
                    committing = True
                    await work.__aexit__(None, None, None)
                    done = True
            except Exception as exc:
                if done and isinstance(exc, ContextError):
                    return  # the end came with the answer: what was done is done
                if committing and _is_closed(conn):
                    raise CommitUnknown from exc
                raise

        try:
            await _kept(ctx, begin())
            async with _guarded(ctx, conn):
                for statement in limits(ctx, belt):
                    await conn.execute(statement)
                yield conn
                # Fails where a COMMIT would be a ROLLBACK, of which nobody would tell.
                # Inside a transaction the constraints are still the outer's affair.
                await conn.execute(
                    "select" if nested else "set constraints all immediate"
                )
            ctx.check()
            await _kept(ctx, commit())
        except BaseException:
            if begun and not committing:
                await outlasting(_roll_back(ctx, conn, work))
            raise


async def _kept(ctx: Context, call: Coroutine[Any, Any, None]) -> None:
    """Run it in a task of its own, which nothing interrupts, and wait for it."""
    try:
        await outlasting(call)
    except ContextError as exc:
        if exc.__cause__ is not None:
            instead_of(exc.__cause__, ctx)
        ctx.check()
        raise


async def _roll_back(ctx: Context, conn: Connection, work: Any) -> None:
    try:
        with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
            async with stopping(rest, _peer(conn)):
                await work.__aexit__(Exception, None, None)
    except (ContextError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        _terminate(conn)  # which rolls back as well


# A connection of a pool that has been terminated belongs to nobody, and says so.


def _is_closed(conn: Connection) -> bool:
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:
        return True


def _terminate(conn: Connection) -> None:
    try:
        conn.terminate()
    except asyncpg.InterfaceError:
        pass  # somebody was faster


# -- a connection of a pool ----------------------------------------------------------


@asynccontextmanager
async def _lent(
    ctx: Context, source: Connection | Pool, *, alone: bool = False
) -> AsyncIterator[Connection]:
    if not isinstance(source, asyncpg.Pool):
        yield cast(Connection, source)
        return
    with ctx.with_cancel():
        conn: Any = await source.acquire()
    try:
        yield conn
    finally:
        await (at_once if alone else outlasting)(_give_back(source, conn))


async def _give_back(pool: Any, conn: Any) -> None:
    current.set(None)  # as in `_call`
    try:
        await pool.release(conn, timeout=GRACE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        pass  # it was terminated, and the pool makes another when it needs one
