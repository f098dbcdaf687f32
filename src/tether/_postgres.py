"""How drivers of PostgreSQL stop a statement, for the integrations that use them.

By their methods alone: no driver is imported.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from math import ceil
from typing import Any, final

from ._context import Context
from ._loops import Task, running_loop

ACTIVE = 1  # PQTRANS_ACTIVE: a command is in progress
QUERY_CANCELED = "57014"


def limits(ctx: Context, seconds: float | None) -> list[str]:
    """What has the server limit each statement of a transaction by itself.

    To what `ctx` has left and so many seconds; nothing if there is no belt or no limit.
    """
    if seconds is None or ctx.deadline is None:
        return []
    limit = max(1, ceil((ctx.remaining() + seconds) * 1000))  # 0 would be no limit
    return [f"set local statement_timeout = {limit}"]


@final
class Psycopg:
    """A connection of psycopg 3, `Connection` or `AsyncConnection`; see `Peer`.

    Made in the thread that uses it, and for a connection of tasks in its loop.
    """

    __slots__ = ("_conn", "_loop")

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._loop = running_loop()

    def fileno(self) -> int:
        """The socket; raises the driver's error if the connection is closed."""
        number: int = self._conn.fileno()
        return number

    def busy(self) -> bool:
        """Whether a command is in progress."""
        return bool(self._conn.pgconn.transaction_status == ACTIVE)

    def ask(self, seconds: float) -> None:
        """Have the server cancel the statement.

        This returns when the server has signalled its process, which ignores a signal
        that finds it idle. So a request that was waited for hits nothing later.
        """
        loop = self._loop
        if loop is None:
            self._conn.cancel_safe(timeout=seconds)
            return
        answered: Future[None] = Future()
        asked: list[Task] = []

        def ask() -> None:
            # It gives up before we do, and so is over when the block is left.
            cancel = self._conn.cancel_safe(timeout=seconds * 0.8)
            asking = loop.create_task(cancel)
            asking.add_done_callback(told)
            asked.append(asking)

        def give_up() -> None:
            for asking in asked:
                asking.cancel()

        def told(asking: Task) -> None:
            if not asking.cancelled():
                asking.exception()  # seen; the socket comes next
            answered.set_result(None)

        # The coroutine is made there: one that a closed loop never ran would complain.
        loop.call_soon_threadsafe(ask)
        try:
            answered.result(seconds)
        except TimeoutError:  # the loop is busy with other things
            loop.call_soon_threadsafe(give_up)
            raise

    def tells(self, exc: Exception) -> bool:
        """Whether the statement was canceled, or the connection is lost."""
        state = state_of(exc)
        if state is None:
            return lost(self._conn)
        return bool(state == QUERY_CANCELED)


def lost(conn: Any) -> bool:
    """Whether a connection of psycopg or asyncpg is closed, by whomever."""
    is_closed = getattr(conn, "is_closed", None)  # asyncpg's
    return bool(conn.closed if is_closed is None else is_closed())


@final
class Asyncpg:
    """A connection of asyncpg while it runs one statement; see `Peer`.

    What is public cancels only by canceling the task, and then asyncpg drops the
    server's answer, which tells what has come of a COMMIT. So this asks as asyncpg
    itself does, by `_cancel_current_command` (0.22 to 0.32); without it the socket is
    what is left.
    """

    __slots__ = ("_conn", "_loop")

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._loop = asyncio.get_running_loop()

    def fileno(self) -> int:
        """The socket of a connection that is not closed."""
        number: int = self._conn._transport.get_extra_info("socket").fileno()
        return number

    def busy(self) -> bool:
        """True: what it is made for is one statement."""
        return True

    def ask(self, seconds: float) -> None:
        """Have the server cancel the statement; returns when it has been told."""
        answered: Future[None] = Future()

        def ask() -> None:
            told = self._loop.create_future()
            told.add_done_callback(lambda _: answered.set_result(None))
            try:
                self._conn._cancel_current_command(told)
            except Exception as exc:
                answered.set_exception(exc)

        self._loop.call_soon_threadsafe(ask)
        answered.result(seconds)

    def tells(self, exc: Exception) -> bool:
        """Whether the statement was canceled, or the connection is lost."""
        return state_of(exc) == QUERY_CANCELED or lost(self._conn)


def state_of(exc: BaseException) -> str | None:
    """The server's code for an error, also for one that a library raises from it."""
    state: str | None = getattr(exc, "sqlstate", None)
    if state is None and exc.__cause__ is not None:
        state = getattr(exc.__cause__, "sqlstate", None)
    return state
