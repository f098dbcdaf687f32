"""Spans for the statements that code runs by itself on a connection in a block of ours.

psycopg makes the cursors of a connection by its `cursor_factory`, which is public and
there for that. While somebody traces, a block puts a factory of its own there, for
cursors of a subclass, and takes it away again: classes stay as they are, and so does
everything while nobody traces.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import lru_cache
from typing import Any, final

from tether import Context, _watching
from tether._postgres import Psycopg

from ._library import psycopg

_NOTHING: AbstractContextManager[Any] = nullcontext()


def spans(ctx: Context, conn: Any) -> AbstractContextManager[None]:
    """A block in which statements on `conn` have spans of `ctx`, if somebody traces."""
    return _NOTHING if _watching.statement is None else _spans(conn, ctx)


def no_spans(conn: Any) -> AbstractContextManager[None]:
    """A block inside it in which one has none, since whoever runs it has made it."""
    return _NOTHING if _watching.statement is None else _spans(conn)


@contextmanager
def _spans(conn: Any, ctx: Context | None = None) -> Iterator[None]:
    factory = conn.cursor_factory
    if not isinstance(factory, _Cursors):
        if ctx is None or not isinstance(factory, type):
            yield  # a function of the user's: nobody knows what it returns
            return
        factory = conn.cursor_factory = _Cursors(factory)
    factory.blocks.append(ctx)
    try:
        yield
    finally:
        factory.blocks.remove(ctx)
        if not factory.blocks and conn.cursor_factory is factory:
            conn.cursor_factory = factory.plain


@final
class _Cursors:
    """Stands in for a `cursor_factory`; one for all the blocks of a connection.

    Those of several tasks need not be left in the order in which they were entered.
    """

    def __init__(self, plain: type) -> None:
        self.plain = plain
        self.blocks: list[Context | None] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _traced(self.plain)(*args, **kwargs)


@lru_cache(maxsize=32)
def _traced(kind: type) -> type:
    first = _InTasks if issubclass(kind, psycopg.AsyncCursor) else _InThreads
    body = {"__slots__": (), "__module__": kind.__module__}
    return type(kind.__name__, (first, kind), body)


class _InThreads:
    """What comes before a cursor class, and calls it within a span.

    `stream()` has none: it would be current between two rows as well.
    """

    __slots__ = ()

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        with _span(self, query):
            return super().execute(query, *args, **kwargs)  # type: ignore[misc]

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        with _span(self, query):
            super().executemany(query, *args, **kwargs)  # type: ignore[misc]

    @contextmanager
    def copy(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with _span(self, query):
            copying = super().copy(query, *args, **kwargs)  # type: ignore[misc]
            with copying as copy:
                yield copy


class _InTasks:
    """The same for tasks."""

    __slots__ = ()

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        with _span(self, query):
            return await super().execute(query, *args, **kwargs)  # type: ignore[misc]

    async def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
        with _span(self, query):
            await super().executemany(query, *args, **kwargs)  # type: ignore[misc]

    @asynccontextmanager
    async def copy(self, query: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with _span(self, query):
            copying = super().copy(query, *args, **kwargs)  # type: ignore[misc]
            async with copying as copy:
                yield copy


def _span(cursor: Any, query: Any) -> AbstractContextManager[None]:
    conn = cursor.connection
    factory = conn.cursor_factory
    blocks = factory.blocks if isinstance(factory, _Cursors) else []
    ctx = blocks[-1] if blocks else None
    return _NOTHING if ctx is None else _within(ctx, conn, query)


@contextmanager
def _within(ctx: Context, conn: Any, query: Any) -> Iterator[None]:
    """A span that is told the end of `ctx` where psycopg tells of a canceled query.

    The code in the block sees psycopg's error; the context's is raised at its exit.
    """
    begun = _watching.statement
    span = _NOTHING if begun is None else begun(ctx, "postgresql", query)
    span.__enter__()
    try:
        yield
    except BaseException as exc:
        told: BaseException = exc
        if isinstance(exc, psycopg.Error) and Psycopg(conn).tells(exc):
            told = ctx.err() or exc
        try:
            span.__exit__(type(told), told, told.__traceback__)
        finally:
            del told  # its traceback holds this frame
        raise
    span.__exit__(None, None, None)
