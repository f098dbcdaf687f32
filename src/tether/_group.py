"""Group: work that belongs together. The first error ends the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Concatenate, Never, ParamSpec, TypeVar, final, overload

from . import _loops
from ._block import mute, raise_again, refuse_to_wait, unmute
from ._context import Context
from ._crew import Crew
from ._handle import Failure, Handle
from ._interrupt import claim
from ._piece import ABOVE, ANOTHER, OURS, whose_end
from ._tree import lock

P = ParamSpec("P")
T = TypeVar("T")


@final
class Group(Crew):
    """Work that belongs together: the first error ends the rest, and is raised.

    `go(fn, *args)` calls `fn(ctx, *args)` with a context of the group, in a task if
    `fn` is a coroutine function and in a thread if it is a plain one. Leaving the block
    waits for all of it.

        >>> from tether import Context, Group, background
        >>> def fetch(ctx: Context, name: str) -> str:
        ...     return name.upper()
        >>> with Group(background()) as group:
        ...     user = group.go(fetch, "user")
        ...     cart = group.go(fetch, "cart")
        >>> user.result(), cart.result()
        ('USER', 'CART')

    In a task use `async with`; a plain `with` has threads only. The first error is
    raised bare, the very exception, when all have ended; the others are in `errors` and
    noted on it. It is the `cause()` of the end of the rest: tasks, the body of the
    block among them, are interrupted in their `await`; threads notice where they look
    at their context. What that end raises in them is no further error.

    `ctx` is the context to work under, by default `current()`. When it ends, so does
    the work, and the block raises its error. A block that is left by an exception, or
    whose task is canceled, ends the work, waits for it, and passes that on.

    Without a block it is Go's errgroup: `go`, then `wait`.
    """

    __slots__ = ("_body_failed", "_failures", "_lost")

    def __init__(self, ctx: Context | None = None, limit: int | None = None) -> None:
        super().__init__(ctx, limit, None)
        self._failures: list[Failure] = []
        self._body_failed = False  # before any of the work
        self._lost = False  # whether work was interrupted by an end from above

    @overload
    def go(
        self,
        fn: Callable[Concatenate[Context, P], Coroutine[object, Never, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T]: ...
    @overload
    def go(
        self,
        fn: Callable[Concatenate[Context, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T]: ...
    def go(
        self, fn: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Handle[object]:
        """Start `fn(ctx, *args)`: a coroutine function as a task, others in a thread.

        The context that it gets is over when it returns. It is started even when the
        group's context is over. While the limit is reached, `go` blocks in a thread; in
        a task it queues, first come, first served, and `await handle.started()` waits
        for the place. From Python 3.12 on a task runs at once up to its first wait,
        unless the loop has a task factory of its own.
        """
        return self._launch(fn, args, kwargs)  # type: ignore[return-value]

    @overload
    def try_go(
        self,
        fn: Callable[Concatenate[Context, P], Coroutine[object, Never, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T] | None: ...
    @overload
    def try_go(
        self,
        fn: Callable[Concatenate[Context, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T] | None: ...
    def try_go(
        self, fn: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Handle[object] | None:
        """Like `go`, but None, and nothing is started, while the limit is reached."""
        return self._told(self._launch(fn, args, kwargs, shed=True), self._scope)

    @property
    def error(self) -> BaseException | None:
        """The first error of the work so far: what `wait()` and the block raise."""
        return self._first()

    @property
    def errors(self) -> list[BaseException]:
        """All errors of the work so far, in the order in which they happened."""
        return [failure.see() for failure in self._failures]

    def wait(self) -> None:
        """Block this thread until all work has ended; raises the first error.

        Then the group's context is over. It may be called again, and work may be
        started afterwards: under a context that is over. In a task: `wait_async()`.
        """
        _loops.refuse_to_block("wait", "await group.wait_async()")
        refuse_to_wait(self, "wait")
        self._park(self._is_idle)
        self._conclude()

    async def wait_async(self) -> None:
        """Wait in a task until all work has ended; raises the first error.

        Inside the group's block: an error of the work does not interrupt this wait, and
        the end of the group's context that it brings does not interrupt the rest of the
        block.
        """
        refuse_to_wait(self, "wait_async")
        muted = mute(self._scope)
        try:
            await self._pause(self._is_idle)
            self._conclude()
        finally:
            if muted:
                unmute(self._scope)

    def _conclude(self) -> None:
        self._scope.cancel()
        error = self._fatal or self._first() or self._error_from_above()
        try:
            if error is not None:
                raise_again(error, None)
        finally:
            del error, self

    # -- errors ----------------------------------------------------------------

    def _failed(self, failure: Failure, whose: int, *, interrupted: bool) -> None:
        if whose == ABOVE and interrupted:
            self._lost = True  # the end itself will be raised
            return
        if whose == OURS and self._ending:
            return
        with lock:
            failures = self._failures
            if any(one.error is failure.error for one in failures):
                return  # it has raised the cause of its end: the first error
            failures.append(failure)
            first = failures[0]
        if first is failure:
            failure.logged = True
            self._ending = True
            self._scope.cancel(failure.error)
        else:
            first.error.add_note(failure.note())

    def _first(self) -> BaseException | None:
        """The first error, to be raised."""
        return self._failures[0].see() if self._failures else None

    def _error_from_above(self) -> BaseException | None:
        """For work that was interrupted from above: it has no error of its own.

        In a task, if the end is that of an enclosing block, the interruption itself.
        """
        if not self._lost:
            return None
        end = self._scope._ended()
        assert end is not None
        return claim(end) or self._scope._tether_error(end)

    def _stop(self, exc: BaseException) -> None:
        if isinstance(exc, Exception) and not self._failures:
            ctx = getattr(exc, "ctx", None)
            self._body_failed = whose_end(ctx, self._scope) == ANOTHER
        super()._stop(exc)

    def _verdict(
        self, ended: BaseException | None, *, foreign: bool
    ) -> BaseException | None:
        if self._fatal is not None:
            return self._fatal
        if ended is None:
            return self._first() or self._error_from_above()
        passes = foreign or not isinstance(ended, Exception | asyncio.CancelledError)
        if self._failures and not passes and not self._body_failed:
            return self._first()
        for failure in self._failures:
            failure.seen = True
            if failure.error is not ended:
                ended.add_note(failure.note())
        return ended
