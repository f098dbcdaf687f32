"""ctx.interrupting(fn): end a blocking call when the context ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, final

from . import _clock, _loops, _watching
from ._clock import INF, Parker
from ._errors import NOT_IN_A_TASK, SYNC_IN_A_TASK, ContextError
from ._loops import Waiter

if TYPE_CHECKING:
    from ._context import Context


@final
class Interrupting:
    """`fn` runs in a thread of tether's if the context ends inside the block.

    Leaving waits for an `fn` that is running: one that came late would hit whatever
    the caller does next with the same connection. When `fn` has run, the block raises
    the context's error in place of whatever came out of it, even a result, because a
    connection that was cut can look like the end of the data.
    """

    __slots__ = ("_ctx", "_fn", "_ran", "_stop")

    def __init__(self, ctx: Context, fn: Callable[[], object]) -> None:
        self._ctx = ctx
        self._fn = fn
        self._ran: Parker | Waiter
        self._stop: Callable[[], bool]

    def _run(self) -> None:
        try:
            self._fn()
        finally:
            self._ran._fire()

    def __enter__(self) -> None:
        if _loops.running_loop() is not None:
            raise RuntimeError(SYNC_IN_A_TASK)
        self._ctx.check()
        self._ran = Parker()
        self._stop = self._ctx.after_func(self._run)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self.leave():
            self._replace(exc)

    def leave(self) -> bool:
        """Whether `fn` has run; waits for it if it is running."""
        if self._take_stop()():
            return False
        assert isinstance(self._ran, Parker)
        left = _clock.now()
        self._ran.park()
        self._tell(left)
        return True

    async def __aenter__(self) -> None:
        if _loops.current_task() is None:
            raise RuntimeError(NOT_IN_A_TASK)
        self._ctx.check()
        self._ran = Waiter(INF)
        self._stop = self._ctx.after_func(self._run)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if await self.leave_async():
            self._replace(exc)

    async def leave_async(self) -> bool:
        """The same in a task; if that is canceled meanwhile, the cancel is raised."""
        if self._take_stop()():
            return False
        assert isinstance(self._ran, Waiter)
        left = _clock.now()
        await self._ran.outlast()
        self._tell(left)
        return True

    def _tell(self, left: float) -> None:
        if _watching.released is not None:
            end = self._ctx._tether_end_of()
            if end is not None:  # it has run, so there is one
                _watching.released(self._fn, max(0.0, left - end.at))

    def _take_stop(self) -> Callable[[], bool]:
        # It leads to the function that leads here, and to the context: no cycle.
        stop = self._stop
        del self._stop
        return stop

    def _replace(self, exc: BaseException | None) -> None:
        if exc is None:
            self._ctx.check()
        elif isinstance(exc, Exception) and not isinstance(exc, ContextError):
            try:
                self._ctx.check()
            except (ContextError, asyncio.CancelledError) as error:
                raise error from exc
