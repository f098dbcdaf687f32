"""What a server runs for us ends when its context ends: ask first, then cut.

    with stopping(ctx, peer):       # in a thread
        conn.execute(...)
    async with stopping(ctx, peer):  # in a task
        await conn.execute(...)

For integrations of databases and the like; what their drivers know is a `Peer`.

How it goes when `ctx` ends inside the block:

1.  The server is asked to stop (`Peer.ask`), from a thread of tether's, again and again
    while the connection is busy: a request that comes between two statements is lost.
2.  After GRACE seconds on end in which the connection was busy, its socket is shut
    down. That wakes the caller whatever the server does, and ends the connection.
3.  The error that comes of either is replaced by the context's, from the driver's. All
    other errors pass, and so does a result: it came in whole, so the statement was
    done. Only a block whose socket was shut raises in any case.

Invariants

-   Leaving waits until nothing of ours is under way, because a late request stops the
    next statement on the connection. It waits for GRACE at most; a request that takes
    longer is made harmless by ending the connection.
-   The socket that is shut is a second descriptor of the same connection, taken on
    entry: a driver may close its own at any moment, and its number is used anew.
-   In a task the end of `ctx` does not interrupt the block, so the driver reads the
    server's answer, which tells what has happened. It does with `interrupt=True`, for
    blocks in which other things wait as well. A driver for tasks asks the server then,
    but only once.
"""

from __future__ import annotations

import asyncio
import socket
import time
from _thread import allocate_lock
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from types import TracebackType
from typing import Protocol, final

from . import _pool
from ._calls import instead_of, shut
from ._context import Context
from ._errors import ContextError
from ._interrupt import in_a_block
from ._interrupting import Interrupting
from ._scope import Scope

GRACE = 1.0
_AGAIN, _AGAIN_AT_MOST = 0.005, 0.1  # seconds between two requests
GENERATORS = CO_GENERATOR | CO_ASYNC_GENERATOR
_THE_DRIVERS = 0.02  # seconds for the request of the driver's own


class Peer(Protocol):
    """A connection with a server, as its driver knows it."""

    def fileno(self) -> int:
        """The descriptor of its socket."""

    def busy(self) -> bool:
        """Whether the server runs something for it now. From any thread."""

    def ask(self, seconds: float) -> object:
        """Ask the server to stop that, within so long. From a thread of tether's.

        When it returns, the request must not hit what comes later.
        """

    def tells(self, exc: Exception) -> bool:
        """Whether an error may come of being asked or cut."""


@final
class stopping:  # noqa: N801
    """A block in which what `peer` runs ends when `ctx` ends; raises `ctx`'s error."""

    __slots__ = (
        *("_around", "_ctx", "_interrupt", "_interrupting", "_left", "_peer", "_twin"),
        "cut",
    )

    _around: Scope | None
    _interrupting: Interrupting
    _twin: int

    def __init__(self, ctx: Context, peer: Peer, *, interrupt: bool = False) -> None:
        self._ctx = ctx
        self._peer = peer
        self._interrupt = interrupt
        self._left = allocate_lock()
        self.cut = False  # whether the socket was shut, and the connection is lost

    # -- in a thread -----------------------------------------------------------

    def __enter__(self) -> None:
        self._begin(self._ctx)
        try:
            self._interrupting.__enter__()
        except BaseException:
            del self._interrupting
            socket.close(self._twin)
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._left.release()
        self._take_interrupting().leave()
        socket.close(self._twin)
        self._conclude(exc)

    # -- in a task -------------------------------------------------------------

    async def __aenter__(self) -> None:
        ctx = self._ctx
        self._begin(ctx)
        around: Scope | None = None
        if self._interrupt:
            around = ctx.with_cancel()
        elif in_a_block():
            # A shield, for the time in which the block is told in another way.
            above = ctx.without_cancel()  # tether: ignore[detached-without-limit]
            around = above.with_cancel()
        self._around = around
        try:
            if around is not None:
                around.__enter__()
            await self._interrupting.__aenter__()
        except BaseException as exc:
            del self._interrupting
            socket.close(self._twin)
            if around is not None:
                around.__exit__(type(exc), exc, exc.__traceback__)
            ctx.check()  # as the interruption, if a block around us has ended
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        canceled: asyncio.CancelledError | None = None
        self._left.release()
        try:
            await self._take_interrupting().leave_async()
        except asyncio.CancelledError as came:
            exc = canceled = came
        try:
            socket.close(self._twin)
            if self._around is not None:
                self._around.__exit__(None if exc is None else type(exc), exc, tb)
            self._conclude(exc)
            if canceled is not None:
                raise canceled
        finally:
            exc = canceled = None  # their tracebacks hold this frame

    # -- both ------------------------------------------------------------------

    def _begin(self, ctx: Context) -> None:
        ctx.check()
        self._left.acquire()
        self._twin = socket.dup(self._peer.fileno())
        self._interrupting = ctx.interrupting(self._stop)

    def _take_interrupting(self) -> Interrupting:
        # It leads to a method that leads here: no cycle, it would hold the context.
        interrupting = self._interrupting
        del self._interrupting
        return interrupting

    def _conclude(self, exc: BaseException | None) -> None:
        if exc is None:
            if self.cut:
                self._ctx.check()
            return
        if not isinstance(exc, Exception) or isinstance(exc, ContextError):
            return
        if self.cut or self._peer.tells(exc):
            _forget_managers(exc)
            instead_of(exc, self._ctx)

    # -- in a thread of tether's -----------------------------------------------

    def _stop(self) -> None:
        """From the end of `ctx` to that of the block."""
        pause = _AGAIN
        until = time.monotonic() + GRACE
        if self._interrupt and self._left.acquire(timeout=_THE_DRIVERS):
            return
        while True:
            if not self._peer.busy():
                until = time.monotonic() + GRACE
            elif time.monotonic() >= until or not self._asked(until):
                self._shut()
                return
            if self._left.acquire(timeout=pause):
                return
            pause = min(pause * 2, _AGAIN_AT_MOST)

    def _asked(self, until: float) -> bool:
        """Ask, in yet another thread; whether that was over in time."""
        over = allocate_lock()
        over.acquire()
        seconds = max(0.001, until - time.monotonic())

        def ask() -> None:
            try:
                self._peer.ask(seconds)
            except Exception:
                pass  # closed meanwhile, or the server is gone: the socket comes next
            finally:
                over.release()

        _pool.submit((ask,))
        return over.acquire(timeout=seconds)

    def _shut(self) -> None:
        self.cut = True
        twin = socket.socket(fileno=self._twin)
        shut(twin)
        twin.detach()


def _forget_managers(exc: Exception) -> None:
    """Take the generators of our own blocks, which it has come through, off its trace.

    From 3.13 on such a frame leads to its caller, contextlib's, which has the error
    among its variables: a cycle, and it would hold the context.
    """
    trace = exc.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        ours = str(frame.f_globals.get("__name__", "")).startswith("tether.")
        if not ours or not frame.f_code.co_flags & GENERATORS:
            break
        trace = trace.tb_next
    exc.__traceback__ = trace
