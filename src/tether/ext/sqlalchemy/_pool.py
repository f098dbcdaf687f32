"""Waits for a connection: for one of the pool, and for one that is being made.

`QueuePool` and its twin for tasks keep their connections in a queue, `_pool`, whose
`get` is where they wait. It is replaced on that object. A thread waits there on the
queue's own condition, `not_empty`, which the end of a context notifies as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.util.queue import Empty

from tether import Context
from tether._clock import INF
from tether._elsewhere import fetched
from tether._loops import no_variables, running_loop
from tether._outlast import outlasting

from ._drivers import Driver
from ._library import await_only, greenlet_spawn

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
    ctx.check()
    # Not entered, as its own end is the pool's affair.
    limit = INF if timeout is None else timeout
    waiting = ctx.with_timeout(limit)  # tether: ignore[scope-without-with]
    try:
        stop = waiting.after_func(partial(_wake, queue))
        try:
            return _wait(ctx, waiting, get, queue)
        finally:
            stop()
    finally:
        waiting.cancel()


def _wake(queue: Any) -> None:
    with queue.not_empty:
        queue.not_empty.notify_all()


def _wait(
    ctx: Context, waiting: Context, get: Callable[[bool, float | None], T], queue: Any
) -> T:
    with queue.not_empty:  # its lock is re-entrant
        while True:
            # First: whoever was told of a connection takes it, or nobody would.
            try:
                return get(False, None)
            except Empty:
                if waiting.done():
                    ctx.check()
                    raise
            queue.not_empty.wait()


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


def connected(ctx: Context, driver: Driver, connect: Callable[[], Any]) -> Any:
    """A new connection, made within `ctx`."""
    if driver.in_tasks:
        return await_only(_connected_in_task(ctx, driver, connect))
    if driver.peer is not None and running_loop() is None:
        return fetched(ctx, connect, lambda conn: conn.close())
    return connect()


async def _connected_in_task(
    ctx: Context, driver: Driver, connect: Callable[[], Any]
) -> Any:
    # It is quick in aiosqlite, which would lose what its thread makes after a cancel.
    wait = _outlasted if driver.of_sqlite else _awaited
    loop, without = asyncio.get_running_loop(), no_variables()
    with ctx.with_cancel():
        # A transport keeps the variables that it was made with as long as it lives.
        work = greenlet_spawn(connect)
        task = loop.create_task(work, context=without)  # tether: ignore[bare-task]
        try:
            return await wait(task)
        except asyncio.CancelledError:
            # Somebody's task.cancel() came when it had been made, and nobody knew it.
            if task.done() and not task.cancelled() and task.exception() is None:
                await outlasting(greenlet_spawn(task.result().close))
            raise


async def _awaited(task: asyncio.Task[Any]) -> Any:
    return await task


async def _outlasted(task: asyncio.Task[Any]) -> Any:
    return await outlasting(_awaited(task))
