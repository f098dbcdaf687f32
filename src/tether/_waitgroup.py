"""WaitGroup: work that has an owner and is otherwise independent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Concatenate, Never, ParamSpec, TypeVar, final, overload

from . import _describe, _foreign, _left, _loops
from ._block import mute, raise_again, refuse_to_wait, unmute
from ._checks import delta_, seconds_
from ._context import Context
from ._crew import Crew
from ._errors import (
    CUT_BY_THE_DRAIN,
    NEGATIVE_COUNTER,
    NOT_A_CONTEXT,
    OF_ROOT,
    WAS_DRAINED,
    Canceled,
)
from ._handle import Failure, Handle
from ._keys import Value
from ._tree import Node, lock
from ._turns import give_up

P = ParamSpec("P")
T = TypeVar("T")


@final
class WaitGroup(Crew):
    """Work of which each piece succeeds or fails by itself.

    For partial results, and as the owner of work that outlives a request.

        >>> from tether import Context, WaitGroup, background
        >>> def ask(ctx: Context, shop: str) -> int:
        ...     return {"a": 3, "b": 5}[shop]
        >>> with WaitGroup(background()) as shops:
        ...     for shop in ["a", "x", "b"]:
        ...         handle = shops.go(ask, shop)
        >>> shops.results, shops.errors
        ([3, 5], [KeyError('x')])

    `go(fn, *args)` calls `fn(ctx, *args)`, in a task if `fn` is a coroutine function
    and in a thread if it is a plain one. One failure leaves the others alone. `timeout`
    is the seconds that each piece has from its start; `limit` is how many may run at a
    time. Leaving the block waits for all of it; a block that is left by an exception,
    or whose task is canceled, ends the work first.

    Detached work is started with `go_with`, in a `WaitGroup` that lives as long as the
    service: give it the context of the service, and `drain` it at shutdown. Threads and
    tasks of any loop may use it at the same time. The group keeps nothing of such a
    piece once it has ended, so it may run for ever; what `go` has started is kept for
    `outcomes`.

    A failure that nobody asks for, by the handle, `errors` or a wait for it, is logged
    to the logger `tether`; the record has the context of the piece as `ctx`.
    """

    __slots__ = ("_added", "_outcomes")

    def __init__(
        self,
        ctx: Context | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> None:
        if timeout is not None:
            timeout = seconds_("timeout", timeout)
        super().__init__(ctx, limit, timeout)
        self._added = 0
        self._outcomes: list[Handle[object]] = []

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
        """Start `fn(ctx, *args)`, as `Group.go`; it is kept for `outcomes`."""
        return self._keep(self._launch(fn, args, kwargs))  # type: ignore[return-value]

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
        handle = self._launch(fn, args, kwargs, shed=True)
        return self._told(self._keep(handle), self._scope)

    def _keep(self, handle: Handle[object] | None) -> Handle[object] | None:
        if handle is not None:
            self._outcomes.append(handle)
        return handle

    @overload
    def go_with(
        self,
        ctx: Context,
        fn: Callable[Concatenate[Context, P], Coroutine[object, Never, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T]: ...
    @overload
    def go_with(
        self,
        ctx: Context,
        fn: Callable[Concatenate[Context, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T]: ...
    def go_with(
        self,
        ctx: Context,
        fn: Callable[..., object],
        /,
        *args: object,
        **kwargs: object,
    ) -> Handle[object]:
        """Start detached work: with the values of `ctx`, and not its end.

        The context that `fn` gets ends with the group, with `timeout`, and when `fn`
        has returned. While the limit is reached, `go_with` blocks in a thread and
        queues in a task, as `go` does.

            >>> import threading
            >>> from tether import Context, Key, WaitGroup, background
            >>> USER: Key[str] = Key("user")
            >>> audited = []
            >>> def audit(ctx: Context, what: str) -> None:
            ...     audited.append((ctx.value(USER), what, ctx.done()))
            >>> detached = WaitGroup(background(), timeout=10.0)
            >>> with background().with_value(USER, "ann").with_cancel() as request:
            ...     handle = detached.go_with(request, audit, "paid")
            >>> detached.drain(background())
            []
            >>> audited
            [('ann', 'paid', False)]
        """
        values = _values_of(ctx)
        _left.announce(self)
        return self._launch(fn, args, kwargs, values=values)  # type: ignore[return-value]

    @overload
    def try_go_with(
        self,
        ctx: Context,
        fn: Callable[Concatenate[Context, P], Coroutine[object, Never, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T] | None: ...
    @overload
    def try_go_with(
        self,
        ctx: Context,
        fn: Callable[Concatenate[Context, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Handle[T] | None: ...
    def try_go_with(
        self,
        ctx: Context,
        fn: Callable[..., object],
        /,
        *args: object,
        **kwargs: object,
    ) -> Handle[object] | None:
        """Like `go_with`, but None at once while the limit is reached: shed load."""
        values = _values_of(ctx)
        _left.announce(self)
        handle = self._launch(fn, args, kwargs, shed=True, values=values)
        return self._told(handle, ctx)

    @property
    def shed(self) -> int:
        """How often `try_go` and `try_go_with` have answered None."""
        return self._shed

    # -- by hand ---------------------------------------------------------------

    def add(self, n: int = 1) -> None:
        """Count `n` more things to wait for; each ends with a call of `done()`."""
        n = delta_("add", n)
        with lock:
            if n > 0:
                self._refuse()
            if self._added + n < 0:
                raise ValueError(NEGATIVE_COUNTER)
            self._added += n
        if not self._added:
            self._ring()

    def done(self) -> None:
        """One of the things that `add` has counted is over.

        `ValueError`, and nothing changes, if there is none.
        """
        self.add(-1)

    # -- what became of it -----------------------------------------------------

    @property
    def outcomes(self) -> list[Handle[object]]:
        """The handles of all that `go` and `try_go` have started, in that order."""
        return [*self._outcomes]

    @property
    def errors(self) -> list[BaseException]:
        """The errors of those that have failed, in the order of `outcomes`."""
        return [one.error for one in self.outcomes if one.error is not None]

    @property
    def results(self) -> list[object]:
        """The results of those that have succeeded, in the order of `outcomes`."""
        return [
            one.result() for one in self.outcomes if one.done() and one._failure is None
        ]

    # -- waiting ---------------------------------------------------------------

    def wait(self, ctx: Context | None = None) -> None:
        """Block this thread until all work has ended and `done()` was called for each.

        Raises the error of `ctx`, if one is given and ends first; the work goes on.
        What the work fails with is not raised. In a task: `wait_async()`.
        """
        _loops.refuse_to_block("wait", "await group.wait_async()")
        refuse_to_wait(self, "wait")
        self._conclude(self._park(self._is_done, ctx), ctx)

    async def wait_async(self, ctx: Context | None = None) -> None:
        """Wait in a task until all work has ended; as `wait`."""
        refuse_to_wait(self, "wait_async")
        self._conclude(await self._pause(self._is_done, ctx), ctx)

    def drain(self, ctx: Context) -> list[str]:
        """Take no more work; wait for what there is until `ctx` ends; cancel the rest.

        Returns the names of what was left and canceled, and logs them: an empty list if
        all has ended by itself. What stood in the queue is not started any more. It
        does not wait for what it has canceled; `wait()` does. In a task:
        `drain_async(ctx)`.
        """
        _loops.refuse_to_block("drain", "await group.drain_async(ctx)")
        self._start_draining(ctx)
        return [] if self._park(self._is_done, ctx) else self._cancel_the_rest(ctx)

    async def drain_async(self, ctx: Context) -> list[str]:
        """Wait in a task until all work has ended or `ctx` ends; as `drain`.

        Inside the block of `ctx` its end is what this waits for, and no interruption.
        """
        self._start_draining(ctx)
        node = ctx._tether_node()
        muted = node is not None and mute(node)
        try:
            done = await self._pause(self._is_done, ctx)
        finally:
            if node is not None and muted:
                unmute(node)
        return [] if done else self._cancel_the_rest(ctx)

    def _is_done(self) -> bool:
        return not self._left and not self._added

    def _conclude(self, there: bool, ctx: Context | None) -> None:
        error = self._fatal
        try:
            if error is not None:
                raise_again(error, None)
            if not there and ctx is not None and not self._is_done():
                ctx.check()
        finally:
            del error, self

    def _start_draining(self, ctx: Context) -> None:
        if not isinstance(ctx, Context):
            raise TypeError(NOT_A_CONTEXT.format(name="drain", value=ctx))
        refuse_to_wait(self, "drain")
        self._closed = self._closed or WAS_DRAINED

    def _cancel_the_rest(self, ctx: Context) -> list[str]:
        with lock:
            names = [handle.name for handle in [*self._pieces]]
            names += ["add() without done()"] * self._added
            queue, self._queue = self._queue, type(self._queue)()
        self._ending = True
        self._scope.cancel(ctx.cause())
        for turn in queue:
            give_up(self, turn)
        if names:
            logging.getLogger("tether").warning(
                CUT_BY_THE_DRAIN.format(count=len(names), names=", ".join(names))
            )
        return names

    def _tether_left(self) -> list[str]:
        """What `run` names when the program ends before it: see `_left`."""
        lines = []
        for handle in [*self._pieces]:
            scope = handle._scope
            if scope is not None:
                label = scope.label
                of_root = OF_ROOT.format(label=label) if label else ""
                site = _describe.site(scope)
                lines.append(f"{handle.name}{of_root}, started at {site}")
        return lines

    # -- ends ------------------------------------------------------------------

    def _failed(
        self,
        failure: Failure,
        whose: int,  # noqa: ARG002
        *,
        interrupted: bool,  # noqa: ARG002
    ) -> None:
        # What the drain has cut it has named itself.
        failure.logged = not (self._ending and isinstance(failure.error, Canceled))

    def _verdict(
        self,
        ended: BaseException | None,
        *,
        foreign: bool,  # noqa: ARG002
    ) -> BaseException | None:
        return self._fatal or ended


def _values_of(ctx: Context) -> Value | None:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name="go_with", value=ctx))
    made = _foreign.adopt(ctx)
    assert isinstance(made, Node)
    return made._values
