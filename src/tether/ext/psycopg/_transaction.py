"""Transactions: committed on success, else rolled back, in time of their own.

What can be known of a commit is told. It runs within the context, and if that ends
meanwhile the server is asked to stop, and answers: then the transaction was rolled
back. Without an answer, since the connection is lost, it is `CommitUnknown`.

The roll-back runs after the end of the context, so it has a time limit of its own, and
in a task nothing that happens to the task reaches it, or the commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Any, overload

from tether import Context, ContextError
from tether._loops import refuse_to_block
from tether._outlast import at_once, outlasting
from tether._postgres import Psycopg, limits
from tether._stopping import stopping

from ._guard import guarded, guarded_async
from ._library import (
    AsyncSource,
    CommitUnknown,
    R,
    Source,
    context_,
    is_async,
    psycopg,
)
from ._pool import lent, lent_async

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

ROLL_BACK = 1.0  # seconds for the roll-back
INERROR = psycopg.pq.TransactionStatus.INERROR


@overload
def transaction(
    ctx: Context, source: Source[R], *, belt: float | None = None
) -> AbstractContextManager[Connection[R]]: ...
@overload
def transaction(
    ctx: Context, source: AsyncSource[R], *, belt: float | None = None
) -> AbstractAsyncContextManager[AsyncConnection[R]]: ...
def transaction(
    ctx: Context,
    source: Source[R] | AsyncSource[R],
    *,
    belt: float | None = None,
) -> (
    AbstractContextManager[Connection[R]]
    | AbstractAsyncContextManager[AsyncConnection[R]]
):
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
    context_("transaction", ctx)
    if is_async(source):
        return in_task(ctx, source, belt)  # type: ignore[arg-type]
    return in_thread(ctx, source, belt)  # type: ignore[arg-type]


# -- in a thread ---------------------------------------------------------------------


@contextmanager
def in_thread(
    ctx: Context, source: Source[R], belt: float | None = None
) -> Iterator[Connection[R]]:
    """A transaction."""
    refuse_to_block("transaction", "async with transaction(...), with AsyncConnection")
    with lent(ctx, source) as conn:
        work = conn.transaction()
        commit = _Commit(conn)
        begun = False
        try:
            with guarded(ctx, conn):
                work.__enter__()
                begun = True
                for statement in limits(ctx, belt):
                    conn.execute(statement.encode())
                yield conn
            ctx.check()
            commit.refuse_aborted()
            with commit, stopping(ctx, Psycopg(conn)):
                commit.begun = True
                work.__exit__(None, None, None)
                commit.done = True
        except BaseException as exc:
            if commit.begun or not begun or not _roll_back(ctx, conn, work, exc):
                raise


def _roll_back(ctx: Context, conn: Any, work: Any, exc: BaseException) -> bool:
    """Roll back; whether that swallows the error, which was a `psycopg.Rollback`."""
    if conn.closed:
        return bool(work.__exit__(type(exc), exc, exc.__traceback__))
    try:
        with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
            with stopping(rest, Psycopg(conn)):
                return bool(work.__exit__(type(exc), exc, exc.__traceback__))
    except ContextError:
        return False  # the connection was cut, which rolls back as well


# -- in a task -----------------------------------------------------------------------


@asynccontextmanager
async def in_task(
    ctx: Context,
    source: AsyncSource[R],
    belt: float | None = None,
    *,
    alone: bool = False,
) -> AsyncIterator[AsyncConnection[R]]:
    """A transaction; `alone`: in a task in which nothing else waits."""
    keep = at_once if alone else outlasting
    async with lent_async(ctx, source) as conn:
        work = conn.transaction()
        commit = _Commit(conn)
        begun = False
        try:
            async with (
                stopping(ctx, Psycopg(conn)) if alone else guarded_async(ctx, conn)
            ):
                await work.__aenter__()
                begun = True
                for statement in limits(ctx, belt):
                    await conn.execute(statement.encode())
                yield conn
            ctx.check()
            commit.refuse_aborted()
            try:
                await keep(_commit_async(ctx, conn, work, commit))
            except ContextError:
                ctx.check()  # as the interruption, if a block around us has ended
                raise
        except BaseException as exc:
            if commit.begun or not begun:
                raise
            if not await keep(_roll_back_async(ctx, conn, work, exc)):
                raise


async def _commit_async(ctx: Context, conn: Any, work: Any, commit: _Commit) -> None:
    with commit:
        async with stopping(ctx, Psycopg(conn)):
            commit.begun = True
            await work.__aexit__(None, None, None)
            commit.done = True


async def _roll_back_async(
    ctx: Context, conn: Any, work: Any, exc: BaseException
) -> bool:
    if conn.closed:
        return bool(await work.__aexit__(type(exc), exc, exc.__traceback__))
    try:
        with ctx.without_cancel().with_timeout(ROLL_BACK) as rest:
            async with stopping(rest, Psycopg(conn)):
                return bool(await work.__aexit__(type(exc), exc, exc.__traceback__))
    except ContextError:
        return False


# -- both ----------------------------------------------------------------------------


class _Commit:
    """A block around a commit, which says what is known of it if it fails."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self.begun = False
        self.done = False

    def refuse_aborted(self) -> None:
        """Raise if there is nothing to commit: nobody else would tell."""
        if self._conn.closed:
            raise psycopg.OperationalError(
                "the connection was lost in the transaction, which is not committed"
            )
        if self._conn.info.transaction_status == INERROR:
            raise psycopg.errors.InFailedSqlTransaction(
                "a statement of this transaction has failed and the block has gone "
                "on, so there is nothing to commit; put a statement that may fail in "
                "a transaction() of its own on the same connection"
            )

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> bool:
        if exc is None or not self.begun:
            return False
        if self.done:
            # The end came with the answer: what was done is done.
            return isinstance(exc, ContextError)
        if self._conn.closed and isinstance(exc, Exception):
            raise CommitUnknown from exc
        return False
