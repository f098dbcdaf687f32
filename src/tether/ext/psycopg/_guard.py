"""A block for code that has a connection in hand, and runs its own statements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Any, overload

from tether import Context
from tether._loops import refuse_to_block
from tether._pool import submit
from tether._postgres import Psycopg
from tether._stopping import stopping

from ._library import R, context_, is_async, psycopg
from ._spans import spans

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection


@overload
def guard(
    ctx: Context, conn: Connection[R]
) -> AbstractContextManager[Connection[R]]: ...
@overload
def guard(
    ctx: Context, conn: AsyncConnection[R]
) -> AbstractAsyncContextManager[AsyncConnection[R]]: ...
def guard(
    ctx: Context, conn: Connection[R] | AsyncConnection[R]
) -> (
    AbstractContextManager[Connection[R]]
    | AbstractAsyncContextManager[AsyncConnection[R]]
):
    """A block in which whatever runs on `conn` ends when `ctx` ends.

    `with` for a connection of threads, `async with` for one of tasks. It says nothing
    of transactions: one that is open then has failed, and is still to be rolled back.
    """
    context_("guard", ctx)
    if hasattr(conn, "getconn"):
        raise TypeError("guard() takes a connection; for a pool there is transaction()")
    if is_async(conn):
        return guarded_async(ctx, conn)  # type: ignore[arg-type]
    return guarded(ctx, conn)  # type: ignore[arg-type]


@contextmanager
def guarded(ctx: Context, conn: Connection[R]) -> Iterator[Connection[R]]:
    """The block in a thread."""
    refuse_to_block("guard", "async with guard(ctx, conn), for an AsyncConnection")
    with stopping(ctx, Psycopg(conn)), spans(ctx, conn):
        yield conn


@asynccontextmanager
async def guarded_async(
    ctx: Context, conn: AsyncConnection[R]
) -> AsyncIterator[AsyncConnection[R]]:
    """The block in a task: whatever else waits in it ends as well."""
    key = conn.pgconn.get_cancel()
    try:
        async with stopping(ctx, Psycopg(conn), interrupt=True):
            with spans(ctx, conn):
                yield conn
    except BaseException:
        if conn.closed:
            # psycopg asks the server before it passes a cancel on, but one more cancel
            # meanwhile (anyio repeats them) makes it drop the connection, and then the
            # statement would run on.
            submit((lambda: _ask(key),))
        raise


def _ask(key: Any) -> None:
    try:
        key.cancel()
    except psycopg.Error:
        pass  # the server is gone, too
