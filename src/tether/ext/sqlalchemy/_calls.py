"""Blocks and single statements that end with a context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy import event

from tether import Context
from tether._calls import under
from tether._line import context_
from tether._loops import refuse_to_block
from tether._outlast import outlasting
from tether._postgres import limits

from ._engine import GUARDED, following
from ._library import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    Connection,
    Engine,
    Session,
    async_scoped_session,
    async_sessionmaker,
    in_tasks,
    scoped_session,
    sessionmaker,
    sqlalchemy,
)

if TYPE_CHECKING:
    from sqlalchemy import CursorResult, Executable, Result

    from ._library import AsyncGuarded, Guarded

G = TypeVar("G", bound="Guarded")
A = TypeVar("A", bound="AsyncGuarded")
S = TypeVar("S", bound=Session)
AS = TypeVar("AS", bound=AsyncSession)
C = TypeVar("C", bound=AsyncConnection | AsyncSession)


def attach(engine: Engine | AsyncEngine) -> None:
    """Have all that runs on this engine follow `current()`, for good.

    For code that exists: a statement, a wait for a connection, a commit that it makes
    under a context ends with that context. Where none is current nothing changes. To
    attach an engine twice is to attach it once.
    """
    if not isinstance(engine, Engine | AsyncEngine):
        raise TypeError(f"attach() takes an engine of SQLAlchemy, not {engine!r}")
    sync = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    following(sync).always = True


# -- guard ---------------------------------------------------------------------------


@overload
def guard(ctx: Context, source: G) -> AbstractContextManager[G]: ...
@overload
def guard(ctx: Context, source: A) -> AbstractAsyncContextManager[A]: ...
def guard(ctx: Context, source: Any) -> Any:
    """A block in which whatever runs on `source` ends when `ctx` ends.

    `source` is a connection, a session or an engine: `with` for those of threads,
    `async with` for those of tasks. In the block `ctx` is `current()`; in a task
    whatever else waits there ends as well. It says nothing of transactions: one that is
    open then is still to be rolled back, which the blocks of SQLAlchemy do.
    """
    context_("guard", ctx)
    if in_tasks(source):
        return _guarded_in_task(ctx, source)
    return _guarded_in_thread(ctx, source)


@contextmanager
def _guarded_in_thread(ctx: Context, source: Any) -> Iterator[Any]:
    refuse_to_block("guard", "async with guard(...), for what belongs to tasks")
    with _followed(source), under(ctx.with_value(GUARDED, True)):
        yield source


@asynccontextmanager
async def _guarded_in_task(ctx: Context, source: Any) -> AsyncIterator[Any]:
    with _followed(source), ctx.with_value(GUARDED, True).with_cancel():
        yield source


@contextmanager
def _followed(source: Any) -> Iterator[None]:
    """Have the engines of a source follow contexts."""
    if isinstance(source, scoped_session | async_scoped_session):
        source = source()
    if isinstance(source, AsyncSession):
        source = source.sync_session
    if not isinstance(source, Session):
        following(_engine_of(source))
        yield
        return
    try:
        following(source.get_bind().engine)
    except sqlalchemy.exc.UnboundExecutionError:
        pass  # it has an engine for each class, and tells when it takes one

    def begun(_: object, __: object, connection: Connection) -> None:
        following(connection.engine)

    event.listen(source, "after_begin", begun)
    try:
        yield
    finally:
        event.remove(source, "after_begin", begun)


def _engine_of(source: Any) -> Engine:
    if isinstance(source, AsyncEngine):
        return source.sync_engine
    if isinstance(source, AsyncConnection):
        return source.engine.sync_engine
    engine: Engine = source.engine
    return engine


# -- transaction ---------------------------------------------------------------------


@overload
def transaction(
    ctx: Context, source: Engine | Connection, *, belt: float | None = None
) -> AbstractContextManager[Connection]: ...
@overload
def transaction(
    ctx: Context,
    source: sessionmaker[S] | scoped_session[S] | S,
    *,
    belt: float | None = None,
) -> AbstractContextManager[S]: ...
@overload
def transaction(
    ctx: Context, source: AsyncEngine | AsyncConnection, *, belt: float | None = None
) -> AbstractAsyncContextManager[AsyncConnection]: ...
@overload
def transaction(
    ctx: Context,
    source: async_sessionmaker[AS] | async_scoped_session[AS] | AS,
    *,
    belt: float | None = None,
) -> AbstractAsyncContextManager[AS]: ...
def transaction(ctx: Context, source: Any, *, belt: float | None = None) -> Any:
    """A block with a connection or session in a transaction, committed on success.

    On an error, and when `ctx` ends, it is rolled back. From an engine or a
    sessionmaker it takes a connection or a session, and gives it back; one that is
    given, and in a transaction already, gets a savepoint. Whatever runs in the block
    ends with `ctx`, as in `guard`, and so does the wait for a connection.

    Raises `CommitUnknown` if the connection is lost during the commit.

    `belt`: have a PostgreSQL limit each statement by itself, with `statement_timeout`,
    to what is left of `ctx` and so many seconds more. It works without us, for the day
    on which this process or the network stands still, and costs a round trip.
    """
    context_("transaction", ctx)
    if in_tasks(source):
        return _in_task(ctx, source, belt)
    return _in_thread(ctx, source, belt)


@contextmanager
def _in_thread(ctx: Context, source: Any, belt: float | None) -> Iterator[Any]:
    refuse_to_block("transaction", "async with transaction(...), with an AsyncEngine")
    if isinstance(source, sessionmaker):
        with source() as session, _in_thread(ctx, session, belt):
            yield session
    elif isinstance(source, Engine):
        with _guarded_in_thread(ctx, source), source.connect() as connection:
            with _in_thread(ctx, connection, belt):
                yield connection
    else:
        begin = source.begin_nested if source.in_transaction() else source.begin
        with _guarded_in_thread(ctx, source), begin():
            for statement in limits(ctx, belt):
                source.execute(sqlalchemy.text(statement))
            yield source


@asynccontextmanager
async def _in_task(ctx: Context, source: Any, belt: float | None) -> AsyncIterator[Any]:
    if isinstance(source, async_sessionmaker):
        async with _closing(source()) as session, _in_task(ctx, session, belt):
            yield session
    elif isinstance(source, AsyncEngine):
        async with _guarded_in_task(ctx, source):
            async with _closing(await source.connect()) as connection:
                async with _in_task(ctx, connection, belt):
                    yield connection
    else:
        begin = source.begin_nested if source.in_transaction() else source.begin
        async with _guarded_in_task(ctx, source), begin():
            for statement in limits(ctx, belt):
                await source.execute(sqlalchemy.text(statement))
            yield source


@asynccontextmanager
async def _closing(source: C) -> AsyncIterator[C]:
    """A block at whose end it is closed, not interrupted: what is committed is done."""
    try:
        yield source
    finally:
        await outlasting(source.close())


# -- single statements ---------------------------------------------------------------

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@overload
def execute(
    ctx: Context,
    source: Connection,
    statement: Executable,
    parameters: Parameters | None = None,
) -> CursorResult[*tuple[Any, ...]]: ...
@overload
def execute(
    ctx: Context,
    source: Session | scoped_session[Any],
    statement: Executable,
    parameters: Parameters | None = None,
) -> Result[*tuple[Any, ...]]: ...
def execute(
    ctx: Context, source: Any, statement: Executable, parameters: Any = None
) -> Any:
    """The result of a statement on a connection or session, run within `ctx`.

    Its rows are read when they are asked for: in a `guard` if they are many.
    """
    context_("execute", ctx)
    with guard(ctx, source):
        return source.execute(statement, parameters)


async def execute_async(
    ctx: Context,
    source: AsyncConnection | AsyncSession | async_scoped_session[Any],
    statement: Executable,
    parameters: Parameters | None = None,
) -> Result[*tuple[Any, ...]]:
    """The result of a statement on a connection or session of tasks, within `ctx`."""
    context_("execute_async", ctx)
    async with guard(ctx, source):
        return await source.execute(statement, parameters)
