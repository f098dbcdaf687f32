"""A connection of a pool, waited for within a context and given back.

Nothing wakes a thread that waits in `ConnectionPool.getconn`. So threads wait in a line
of ours, with as many places as the pool has connections: whoever has a place finds one
in the pool. It has none ready while it connects, or if other code uses it past us; then
a thread of tether's waits in the place of the caller's, which stays free to leave.

A task that is interrupted in `AsyncConnectionPool.getconn` gives back what it has got.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tether import Context, ContextError, Semaphore
from tether._calls import instead_of
from tether._elsewhere import fetched
from tether._outlast import at_once, outlasting

from ._library import AsyncSource, R, Source, psycopg

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import ConnectionPool

AT_ONCE = 0.05  # seconds for what should be there
LATER = 0.1  # the pool gives up after us, so that it is we who say why


@contextmanager
def lent(ctx: Context, source: Source[R]) -> Iterator[Connection[R]]:
    """A block with a connection of a pool, or with the connection that was given."""
    if isinstance(source, psycopg.Connection):
        yield source
        return
    places = _places_of(source)
    with ctx.with_timeout(source.timeout) as waiting:
        try:
            places.acquire(waiting)
            try:
                conn = _fetch(waiting, source)
            except BaseException:
                places.release()
                raise
        except ContextError:
            ctx.check()
            raise _timeout_of(source) from None
        except psycopg.OperationalError as exc:
            instead_of(exc, ctx)
            raise
    try:
        yield conn
    finally:
        try:
            source.putconn(conn)
        finally:
            places.release()


@asynccontextmanager
async def lent_async(
    ctx: Context, source: AsyncSource[R], *, alone: bool = False
) -> AsyncIterator[AsyncConnection[R]]:
    """The same in a task; `alone`: in one that nothing reaches."""
    if isinstance(source, psycopg.AsyncConnection):
        yield source
        return
    with ctx.with_cancel():
        try:
            conn = await source.getconn()
        except psycopg.OperationalError as exc:
            instead_of(exc, ctx)
            raise
    try:
        yield conn
    finally:
        await (at_once if alone else outlasting)(source.putconn(conn))


_lines: WeakKeyDictionary[object, tuple[int, Semaphore]] = WeakKeyDictionary()
_endless = 1 << 30  # a null pool without a maximum


def _places_of(pool: ConnectionPool[Any]) -> Semaphore:
    size = pool.max_size or _endless
    line = _lines.get(pool)
    if line is None:
        line = _lines.setdefault(pool, (size, Semaphore(size)))
    if line[0] != size:
        line = _lines[pool] = (size, Semaphore(size))  # the pool was resized
    return line[1]


def _fetch(waiting: Context, pool: ConnectionPool[Connection[R]]) -> Connection[R]:
    ready = pool.get_stats()["pool_available"] > 0
    if ready and getattr(pool, "_check", None) is None:  # that asks the server first
        try:
            return pool.getconn(timeout=AT_ONCE)
        except type(_timeout_of(pool)):
            pass  # somebody was faster
    seconds = waiting.remaining() + LATER
    return fetched(waiting, lambda: pool.getconn(timeout=seconds), pool.putconn)


def _timeout_of(pool: ConnectionPool[Any]) -> psycopg.OperationalError:
    from psycopg_pool import PoolTimeout

    return PoolTimeout(f"couldn't get a connection after {pool.timeout:.2f} sec")
