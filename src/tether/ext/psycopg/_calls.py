"""Single statements, within a context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, LiteralString, TypeVar, cast

from tether import Context
from tether._calls import statement
from tether._outlast import apart
from tether._postgres import Psycopg
from tether._stopping import stopping

from ._library import (
    AsyncSource,
    Params,
    Query,
    R,
    Source,
    check,
    check_async,
)
from ._pool import lent, lent_async
from ._spans import no_spans
from ._transaction import in_task, in_thread

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor

T = TypeVar("T")


def _any(sql: Query) -> LiteralString:
    # psycopg takes a template as well, in an overload of its own.
    return cast("LiteralString", sql)


# -- in a thread ---------------------------------------------------------------------


def execute(
    ctx: Context, source: Source[R], sql: Query, params: Params | None = None
) -> Cursor[R]:
    """The cursor of a statement that was run within `ctx`, with its rows.

    On a connection of a pool the statement is a transaction of its own, committed when
    this returns, unless the connection is in autocommit mode. On a connection that was
    given it belongs to that connection's transaction.
    """
    check(ctx, "execute", source)
    return _call(ctx, source, sql, lambda c: c.execute(_any(sql), params))


def fetch_all(
    ctx: Context, source: Source[R], sql: Query, params: Params | None = None
) -> list[R]:
    """All rows of a query, within `ctx`."""
    check(ctx, "fetch_all", source)
    return _call(ctx, source, sql, lambda c: c.execute(_any(sql), params).fetchall())


def fetch_one(
    ctx: Context, source: Source[R], sql: Query, params: Params | None = None
) -> R | None:
    """The first row of a query, None if there is none; within `ctx`."""
    check(ctx, "fetch_one", source)
    return _call(ctx, source, sql, lambda c: c.execute(_any(sql), params).fetchone())


def _call(
    ctx: Context, source: Source[R], sql: Query, ask: Callable[[Connection[R]], T]
) -> T:
    with statement(ctx, "postgresql", sql), lent(ctx, source) as conn:
        if conn is source or conn.autocommit:
            with stopping(ctx, Psycopg(conn)), no_spans(conn):
                return ask(conn)
        with in_thread(ctx, conn), no_spans(conn):
            return ask(conn)


# -- in a task -----------------------------------------------------------------------


async def execute_async(
    ctx: Context, source: AsyncSource[R], sql: Query, params: Params | None = None
) -> AsyncCursor[R]:
    """The cursor of a statement that was run within `ctx`, with its rows."""
    check_async(ctx, "execute_async", source)
    return await _call_async(ctx, source, sql, lambda c: c.execute(_any(sql), params))


async def fetch_all_async(
    ctx: Context, source: AsyncSource[R], sql: Query, params: Params | None = None
) -> list[R]:
    """All rows of a query, within `ctx`."""

    async def ask(conn: AsyncConnection[R]) -> list[R]:
        return await (await conn.execute(_any(sql), params)).fetchall()

    check_async(ctx, "fetch_all_async", source)
    return await _call_async(ctx, source, sql, ask)


async def fetch_one_async(
    ctx: Context, source: AsyncSource[R], sql: Query, params: Params | None = None
) -> R | None:
    """The first row of a query, None if there is none; within `ctx`."""

    async def ask(conn: AsyncConnection[R]) -> R | None:
        return await (await conn.execute(_any(sql), params)).fetchone()

    check_async(ctx, "fetch_one_async", source)
    return await _call_async(ctx, source, sql, ask)


async def _call_async(
    ctx: Context,
    source: AsyncSource[R],
    sql: Query,
    ask: Callable[[AsyncConnection[R]], Awaitable[T]],
) -> T:
    async def alone(scope: Context) -> T:
        async with lent_async(scope, source, alone=True) as conn:
            if conn is source or conn.autocommit:
                async with stopping(scope, Psycopg(conn)):
                    with no_spans(conn):
                        return await ask(conn)
            async with in_task(scope, conn, alone=True):
                with no_spans(conn):
                    return await ask(conn)

    # psycopg would cancel the statement by itself, and lose the connection if it is
    # interrupted a second time.
    with statement(ctx, "postgresql", sql):
        return await apart(ctx, alone)
