"""Waits for a connection: for one of the pool, and for one that is being made.

`QueuePool` and its twin for tasks keep their connections in a queue, `_pool`, whose
`get` is where they wait. It is replaced on that object. A thread waits there on the
queue's own condition, `not_empty`, which the end of a context notifies as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.pool import Pool, QueuePool

from tether import Context
from tether._clock import INF
from tether._elsewhere import fetched
from tether._loops import running_loop

from ._drivers import Driver

T = TypeVar("T")


def follow_pool(pool: Pool, context: Callable[[], Context | None]) -> None:
    """Have the waits for a connection of this pool end with a context."""
    if isinstance(pool, QueuePool):
        queue: Any = pool._pool
        wait = _wait_in_task if pool._is_asyncio else _wait_in_thread
        queue.get = partial(wait, queue.get, queue, context)


def _wait_in_thread(
    get: Callable[[bool, float | None], T],
    queue: Any,
    context: Callable[[], Context | None],
    block: bool = True,  # noqa: FBT002
    timeout: float | None = None,
) -> T:
    ctx = context()
    if ctx is None or not block or running_loop() is not None:
        return get(block, timeout)
    from sqlalchemy.util.queue import Empty

    def wake() -> None:
        with queue.not_empty:
            queue.not_empty.notify_all()

    ctx.check()
    waiting = ctx.with_timeout(INF if timeout is None else timeout)
    stop = waiting.after_func(wake)
    try:
        with queue.not_empty:
            while True:
                # First: whoever was notified of a connection takes it, or nobody will.
                try:
                    return get(False, None)
                except Empty:
                    if waiting.done():
                        ctx.check()
                        raise
                queue.not_empty.wait()
    finally:
        stop()
        waiting.cancel()


def _wait_in_task(
    get: Callable[[bool, float | None], T],
    _: object,
    context: Callable[[], Context | None],
    block: bool = True,  # noqa: FBT002
    timeout: float | None = None,
) -> T:
    ctx = context()
    if ctx is None or not block:
        return get(block, timeout)
    with ctx.with_cancel():
        return get(block, timeout)


def connected(driver: Driver, ctx: Context, connect: Callable[[], Any]) -> Any:
    """A new connection, made within `ctx`."""
    if driver.in_tasks:
        with ctx.with_cancel():
            return connect()
    if driver.peer is not None and running_loop() is None:
        return fetched(ctx, connect, lambda conn: conn.close())
    return connect()
