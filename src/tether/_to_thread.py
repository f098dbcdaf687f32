"""to_thread(ctx, fn, *args): a blocking function in a thread, awaited.

Rules

1.  What the thread hands over is not lost. While the task waits for the thread, an end
    of an enclosing block that is delivered is taken back (`Outlast`), the result is
    returned, and the interruption comes at the next wait. An anyio scope is held off
    with a shield of anyio's own, which does the same, and does not spin meanwhile.
2.  A foreign `task.cancel()` cannot be given back without breaking the count of whoever
    sent it. It is raised when the thread has ended; a result is dropped then, which a
    note on the exception says, and an error of `fn`'s own goes before it.
3.  An error that `fn` raises because an enclosing block of the task is over is that
    block's: the interruption is raised in its place, as by `ctx.check()`.
4.  With `abandon=True` the task goes at once and leaves the thread behind. The thread
    is in `abandoned()` until it ends; what it raises then is reported.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextvars import copy_context
from inspect import iscoroutinefunction
from threading import Thread, current_thread
from typing import Any, Generic, NamedTuple, TypeVar, TypeVarTuple, cast, final

from . import _clock, _current, _hooks, _interrupt, _loops, _threads, _watching
from ._checks import callable_
from ._clock import INF
from ._context import Context
from ._errors import (
    NOT_A_CONTEXT,
    RESULT_DROPPED,
    THREAD_FOR_A_COROUTINE,
    ContextError,
    report,
)
from ._loops import Task
from ._outlast import Outlast
from ._where import name_of

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def to_thread(
    ctx: Context,
    fn: Callable[[Context, *Ts], T],
    *args: *Ts,
    abandon: bool = False,
) -> T:
    """What `fn(ctx, *args)` returns, which runs in a thread.

    There `ctx` is `current()`, and the other context variables are those of the caller.
    Each call has a thread of its own at once; bound them with a `Semaphore` or a group.

    A thread cannot be interrupted from outside. When the calling task is, this waits
    until `fn` has noticed by itself that `ctx` is over: by a call that takes `ctx`, or
    because `ctx.interrupting()` made it. Its result is returned even then, and the task
    is interrupted where it waits next; a foreign `task.cancel()` is raised once `fn`
    has ended. With `abandon=True` it returns at once when the task is interrupted or
    `ctx` ends, and leaves the thread to itself: see `abandoned()`.

    Raises what `fn` raises; nothing is started if `ctx` is over.

        >>> import asyncio
        >>> from tether import background, to_thread
        >>> def read(ctx, name):
        ...     with ctx.with_timeout(1.0) as budget:
        ...         budget.sleep(0.01)
        ...     return f"contents of {name}"
        >>> asyncio.run(to_thread(background(), read, "a file"))
        'contents of a file'
    """
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name="to_thread", value=ctx))
    callable_("to_thread", fn)
    if iscoroutinefunction(fn):
        raise TypeError(THREAD_FOR_A_COROUTINE.format(fn=fn))
    ctx.check()
    work = Work(ctx, fn, args)
    work.start()
    try:
        await work.wait(abandon=abandon)
    except BaseException:
        work.abandoned = not work.done
        if work.abandoned and _watching.abandoned is not None:
            _watching.abandoned(ctx)
        work.let_go()
        raise
    return work.outcome()


async def to_ending_thread(
    ctx: Context, fn: Callable[[Context, *Ts], T], *args: *Ts
) -> T:
    """As `to_thread`, for an `fn` that is over soon after its context.

    So whatever interrupts the task ends that context, a foreign `task.cancel()` too. It
    is raised when `fn` is over, from the error that it has made of it.
    """
    ctx.check()
    task = _loops.current_task()
    assert task is not None
    before = Outlast(task)
    scope = ctx.with_cancel()  # tether: ignore[scope-without-with] it ends `fn` alone
    try:
        work = Work(scope, fn, args)
        work.start()
        try:
            await work.wait_or_leave(task)
        except asyncio.CancelledError as exc:
            scope.cancel()
            await work.wait(abandon=False)
            if work.has_failed(ContextError):
                raise exc from work.let_go()
            if before.only_ours():
                before.take_back()
            elif not work.has_failed(BaseException):
                exc.add_note(RESULT_DROPPED.format(name=name_of(fn)))
                raise
        return work.outcome()
    finally:
        scope.cancel()


class Abandoned(NamedTuple):
    """Work in a thread that nobody waits for any more."""

    name: str
    """Of the function."""
    ctx: Context
    """What it was given, and is over unless a foreign cancel ended the waiting."""
    thread: Thread
    """Where it runs."""
    seconds: float
    """Since it was started."""


def abandoned() -> list[Abandoned]:
    """The threads that `to_thread` has left behind and that still run.

    The count belongs on a dashboard: each holds a thread and whatever it has open. They
    do not hold up the end of the process; `run` waits for them and names them.
    """
    now = _clock.now()
    return [
        Abandoned(name_of(work.fn), work.ctx, work.thread, now - work.since)
        for work in running()
        if work.is_abandoned() and work.thread is not None
    ]


def running() -> list[Work[Any]]:
    """All that `to_thread` has started and that has not ended."""
    return [*_running]


_running: set[Work[Any]] = set()


@final
class Work(Generic[T]):
    """One call of a function in a thread, and the task that waits for it."""

    __slots__ = (
        *("_args", "_deadline", "_error", "_loop", "_result", "_state"),
        *("_variables", "_waiter"),
        *("abandoned", "ctx", "done", "fn", "since", "thread"),
    )

    def __init__(
        self, ctx: Context, fn: Callable[..., T], args: tuple[Any, ...]
    ) -> None:
        self.ctx = ctx
        self.fn = fn
        self._args = args
        self._variables = copy_context()
        self._loop = asyncio.get_running_loop()
        self._state = _loops.state_of(self._loop)
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = INF
        self._result: T
        self._error: BaseException | None = None
        self.since = _clock.now()
        self.thread: Thread | None = None
        self.done = False
        self.abandoned = False

    def start(self) -> None:
        _running.add(self)
        try:
            _threads.start(self._run)
        except BaseException:
            _running.discard(self)
            raise

    def is_of(self, loop: _loops.Loop | None) -> bool:
        """Whether it was started in this event loop."""
        return self._loop is loop

    def is_abandoned(self) -> bool:
        """Whether nobody waits for it: the task has gone, or its loop is closed."""
        return self.abandoned or self._loop.is_closed()

    # -- in the thread -----------------------------------------------------------

    def _run(self) -> None:
        self.thread = current_thread()
        try:
            self._result = self._variables.run(self._call)
        except BaseException as exc:
            self._error = exc
        self.done = True
        _running.discard(self)
        self._state.wake(self)
        if self.abandoned:
            self.let_go()

    def _call(self) -> T:
        _current.var.set(self.ctx)
        return self.fn(self.ctx, *self._args)

    # -- in the loop -------------------------------------------------------------

    def look(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    _due = look

    def _fire(self) -> None:
        self._state.wake(self)

    async def wait(self, *, abandon: bool) -> None:
        """Wait until the function has ended, or with `abandon` for what ends the wait.

        Raises the interruption if that goes before the outcome.
        """
        task = _loops.current_task()
        assert task is not None
        if abandon:
            await self._or_end_of_context(task)
        elif _interrupt._anyio_scope(task) is not None:
            with sys.modules["anyio"].CancelScope(shield=True):
                await self._wait(task, leave=False)
        else:
            await self._wait(task, leave=False)

    async def wait_or_leave(self, task: Task) -> None:
        """Wait until the function has ended; an interruption is raised at once."""
        await self._wait(task, leave=True)

    async def _wait(self, task: Task, *, leave: bool) -> None:
        before = Outlast(task)
        canceled: asyncio.CancelledError | None = None
        while not self.done:
            self._waiter = self._loop.create_future()
            if self.done:
                break  # just now; `look` comes after it
            try:
                await self._waiter
            except asyncio.CancelledError as exc:
                if leave and not self.done:
                    raise
                canceled = exc
            if leave and not self.done:
                self.ctx.check()
        if canceled is None:
            return
        try:
            if before.only_ours():
                if not self._is_of_a_block():
                    before.take_back()
                    return
            elif self._error is None:
                canceled.add_note(RESULT_DROPPED.format(name=name_of(self.fn)))
            elif not isinstance(self._error, ContextError):
                return
            raise canceled
        finally:
            canceled = None  # its traceback holds this frame

    async def _or_end_of_context(self, task: Task) -> None:
        node = self.ctx._tether_node()
        if node is not None and not node._attach(self):
            self.ctx.check()
        timers = self._state.timers
        self._deadline = _hooks.real_deadline(node)
        try:
            if self._deadline != INF:
                timers.add(self)
            await self._wait(task, leave=True)
        finally:
            timers.discard(self)
            if node is not None:
                node._detach(self)

    # -- afterwards --------------------------------------------------------------

    def outcome(self) -> T:
        """What the function returned; raises what it raised."""
        error = self._error
        if error is None:
            return self._result
        try:
            if self._is_of_a_block():
                claimed = _interrupt.claim(cast(Any, error).ctx._tether_end_of())
                assert claimed is not None
                raise claimed from error
            raise error
        finally:
            del error
            self._error = None

    def _is_of_a_block(self) -> bool:
        """Whether the error stands for the end of a block around the waiting task."""
        error = self._error
        if not isinstance(error, ContextError) or error.ctx is None:
            return False
        end = error.ctx._tether_end_of()
        return end is not None and _interrupt.claim(end) is not None

    def has_failed(self, kind: type[BaseException]) -> bool:
        """Whether the function has ended with such an error."""
        return isinstance(self._error, kind)

    def let_go(self) -> BaseException | None:
        """Nobody asks for the outcome: say what would be lost; the error, if any."""
        error, self._error = self._error, None
        if self.abandoned and error is not None and not isinstance(error, ContextError):
            report(error)
        return error


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # the threads are not there
