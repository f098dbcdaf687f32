"""How drivers of PostgreSQL stop a statement, for the integrations that use them.

By their methods alone: no driver is imported.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, final

from ._loops import Task, running_loop

ACTIVE = 1  # PQTRANS_ACTIVE: a command is in progress
QUERY_CANCELED = "57014"


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

        def ask() -> None:
            asking = loop.create_task(self._conn.cancel_safe(timeout=seconds))
            asking.add_done_callback(told)

        def told(asking: Task) -> None:
            if not asking.cancelled():
                asking.exception()  # seen; the socket comes next
            answered.set_result(None)

        # The coroutine is made there: one that a closed loop never ran would complain.
        loop.call_soon_threadsafe(ask)
        answered.result(seconds)

    def tells(self, exc: Exception) -> bool:
        """Whether the statement was canceled, or the connection is lost."""
        state = getattr(exc, "sqlstate", None)
        if state is None:
            return lost(self._conn)
        return bool(state == QUERY_CANCELED)


def lost(conn: Any) -> bool:
    """Whether a connection of psycopg is closed, by whomever."""
    return bool(conn.closed)
