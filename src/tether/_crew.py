"""Crew: what Group and WaitGroup have in common: work, its places, its owner's block.

Invariants

1.  Each piece is counted in `_left` from the call of `go` until all that its end brings
    about has been done. Whoever waits for the crew waits for `_left` to be zero.
2.  `_running` counts the places that are taken. While anybody stands in the queue, all
    are: a place that gets free is handed to the head of the queue, not given back. So
    who came first starts first, from threads and tasks alike.
3.  While a task of it is suspended, the crew hangs on its own scope and tells its
    tasks of the end (`_fire`).
4.  The lock is that of the trees (see `_tree`, 6): no user code runs under it, and at
    each call in a locked section all is whole, for a signal handler that comes in.
5.  The lock is also half the cost of the counting. Where there is a global interpreter
    lock a piece is counted without it, and without a limit, when nobody can stand in
    the queue, counted out: no call stands between a test and the stores that rest on
    it, here and in the locked sections, so nothing can come in between.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from inspect import CO_COROUTINE
from types import TracebackType
from typing import Any, Never, Self

from . import _block, _clock, _live, _turns, _watching
from ._bell import Bell
from ._checks import limit_
from ._clock import INF, Parker
from ._context import Context, _made_here
from ._errors import (
    GROUP_IN_A_TASK,
    GROUP_IS_OVER,
    GROUP_NOT_IN_A_TASK,
    GROUP_OF_THE_PARENT,
    LIMIT_IS_ZERO,
    LIMIT_WHILE_ACTIVE,
    NEEDS_A_LOOP,
    NOT_A_CONTEXT,
    THREADS_ONLY,
)
from ._handle import DONE, RUNNING, Failure, Handle
from ._keys import Value
from ._loops import current_task, running_loop
from ._piece import (
    Piece,
    Work,
    is_async,
    name_of,
    start_task,
    start_thread,
    whose_end,
)
from ._roots import current
from ._scope import Scope, _derive
from ._tree import GIL, lock
from ._turns import Turn

_new: Callable[[type[Any]], Any] = object.__new__

# Another one in a forked child, where no piece of the parent's runs.
_process = object()


class Crew(Bell):
    """Starts pieces of work below a context, counts them, and waits for them."""

    __slots__ = (
        *("__weakref__", "_base", "_closed", "_ending", "_fatal", "_hooked", "_left"),
        *("_limit", "_pieces", "_process", "_queue", "_running", "_scope", "_shed"),
        *("_threads", "_timeout"),
    )

    def __init__(
        self, ctx: Context | None, limit: int | None, timeout: float | None
    ) -> None:
        if ctx is None:
            ctx = current()
        elif not isinstance(ctx, Context):
            raise TypeError(NOT_A_CONTEXT.format(name=type(self).__name__, value=ctx))
        self._limit = -1 if limit is None else limit_(limit)
        self._timeout = timeout
        self._closed = ""  # why nothing can be started any more
        self._fatal: BaseException | None = None  # an exit that a piece asked for
        self._ending = False  # whether it was the crew that has ended its context
        self._threads = False  # whether the block is a plain with
        self._left = self._running = self._shed = self._base = 0
        self._pieces: dict[Handle[Any], None] = {}
        # A thread waits for its place itself; a task's piece is started by who has it.
        self._queue: deque[Turn] = deque()
        self._waiters = None
        self._hooked = False
        self._process = _process
        self._scope = _made_here(ctx.with_cancel(), sys._getframe(2))
        if _live.made is not None:
            _live.made(self)

    @property
    def ctx(self) -> Context:
        """The context of the work, below the one that was given."""
        return self._scope

    def set_limit(self, n: int) -> None:
        """At most `n` pieces run at a time from now on; negative: as many as come.

        0 starts nothing. A limit can be lifted at any time; another one can only be
        set while nothing runs (`RuntimeError`).
        """
        n = limit_(n)
        with lock:
            self._refuse()
            if n >= 0 and self._running:
                raise RuntimeError(LIMIT_WHILE_ACTIVE.format(n=self._running))
            self._limit = n
            queue, self._queue = self._queue, deque()
            count = len(queue)
            self._running += count
        for handle, start in queue:
            if not self._begin(handle, start):
                self._release(handle)

    # -- starting --------------------------------------------------------------

    def _launch(
        self,
        fn: Work,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        shed: bool = False,
        values: Value | None = None,
    ) -> Handle[Any] | None:
        """Start a piece, or queue it; None if there is no place and it may be shed."""
        try:
            name = fn.__qualname__
            flags = fn.__code__.co_flags
        except AttributeError:
            name, flags = name_of(fn), 0
        loop = running_loop()
        as_task = flags & CO_COROUTINE or is_async(fn)
        piece: Piece | None = None
        if as_task and (loop is None or self._threads):
            text = THREADS_ONLY if self._threads else NEEDS_A_LOOP
            raise RuntimeError(text.format(name=name))
        if not GIL:  # see invariant 5
            lock.acquire()
        try:
            if self._closed or self._process is not _process:
                self._refuse()
            queued = 0 <= self._limit <= self._running
            if not queued:
                self._running += 1
            elif shed:
                self._shed += 1
                return None
            elif self._limit == 0:
                raise RuntimeError(LIMIT_IS_ZERO)
            self._left += 1
        finally:
            if not GIL:
                lock.release()
        now = _clock.now()
        scope = _derive(self._scope, now, INF, 0.0, None, None, sys._getframe(2))
        if values is not None:
            scope._values = values
        handle: Handle[Any] = _new(Handle)
        handle.name = name
        handle._scope = scope
        handle._state = RUNNING
        handle._failure = handle._task = handle._waiters = None
        self._pieces[handle] = None
        try:
            if queued:
                piece = (self, handle, scope, fn, args, kwargs)
                if not _turns.take(self, piece, loop, as_task=bool(as_task)):
                    return handle
            if as_task:
                assert loop is not None
                start_task(loop, self, handle, scope, fn, args, kwargs)
            else:
                piece = (self, handle, scope, fn, args, kwargs)
                start = partial(start_thread, copy_context(), piece)
                if not self._begin(handle, start):
                    self._release(handle)
            return handle
        finally:
            # The traceback of a task that has failed at once refers to this frame.
            piece = None
            del handle, scope

    def _told(self, handle: Handle[Any] | None, ctx: Context) -> Handle[Any] | None:
        """The handle; if there is none the work is shed, and that is told."""
        if handle is None and _watching.shed is not None:
            _watching.shed(ctx)
        return handle

    def _refuse(self) -> None:
        """An error unless work may be started."""
        self._refuse_parents()
        if self._closed:
            kind = type(self).__name__
            raise RuntimeError(GROUP_IS_OVER.format(kind=kind, why=self._closed))

    def _refuse_parents(self) -> None:
        if self._process is not _process:
            kind = type(self).__name__
            raise RuntimeError(GROUP_OF_THE_PARENT.format(kind=kind))

    def _begin(self, handle: Handle[Any], start: Parker | Callable[[], object]) -> bool:
        """Start a piece that has its place; False if it has ended by that.

        It is the piece that fails if no thread is to be had, or its loop is closed.
        """
        handle._state = RUNNING
        handle._ring()
        if isinstance(start, Parker):
            start.unpark()
            return True
        try:
            start()
        except Exception as exc:
            if handle._scope is not None:
                handle._scope.cancel()
            self._settle(handle, exc.with_traceback(None))
            return False
        return True

    # -- ending ----------------------------------------------------------------

    def _settle(
        self, handle: Handle[Any], error: BaseException, *, interrupted: bool = False
    ) -> None:
        """Keep what a piece has failed with."""
        failure = handle._failure = Failure(handle.name, error, handle._scope)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self._fatal = self._fatal or error
            self._stop(error)
        else:
            ctx = handle._scope if interrupted else getattr(error, "ctx", None)
            self._failed(failure, whose_end(ctx, self._scope), interrupted=interrupted)

    def _failed(self, failure: Failure, whose: int, *, interrupted: bool) -> None:
        """A piece has failed; `whose` end it tells of."""
        raise NotImplementedError

    def _release(self, handle: Handle[Any]) -> None:
        """A piece is done: its place goes to the next."""
        while True:  # what fails to start makes place for the next
            after: Turn | None = None
            bare = GIL and self._limit < 0  # see invariant 5
            if not bare:
                lock.acquire()  # half the cost of a with block
            try:
                del self._pieces[handle]
                handle._state = DONE
                handle._scope = handle._task = None
                if self._queue:
                    after = self._queue.popleft()
                else:
                    self._running -= 1
                self._left -= 1
            finally:
                if not bare:
                    lock.release()
            if self._hooked and not self._left:
                self._unwatch()
            if handle._waiters is not None:
                handle._ring()
            if self._waiters is not None and not self._left:
                self._ring()
            if after is None or self._begin(*after):
                return
            handle = after[0]

    def _watch(self) -> None:
        """A task is suspended: be told of the end, for it and all that come."""
        with lock:
            self._hooked = True
            self._scope._hook_up(self)
        if self._scope._ended() is not None:
            self._fire()  # it came before

    def _unwatch(self) -> None:
        with lock:
            if self._hooked and not self._left:  # none has come meanwhile
                self._hooked = False
                self._scope._detach(self)

    def _fire(self) -> None:
        """The context is over: tell the tasks. See invariant 3."""
        with lock:
            handles = [*self._pieces]
        for handle in handles:
            scope = handle._scope
            stack = None if scope is None else scope._tether_stack
            if stack is not None:
                stack._fire()

    def __del__(self) -> None:
        # Nothing runs any more, as work refers to its crew. Nobody need wait either.
        scope: Scope | None = getattr(self, "_scope", None)
        if scope is not None and scope._end is None:
            scope.cancel()

    # -- waiting ---------------------------------------------------------------

    def _is_idle(self) -> bool:
        return not self._left

    _is_done = _is_idle

    # -- the block of its owner, see _block ------------------------------------

    def __enter__(self) -> Self:
        if running_loop() is not None:
            raise RuntimeError(GROUP_IN_A_TASK)
        self._refuse()
        _block.enter(self)
        self._threads = True
        return self

    async def __aenter__(self) -> Self:
        if current_task() is None:
            raise RuntimeError(GROUP_NOT_IN_A_TASK)
        self._refuse()
        _block.enter(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        _block.leave(self, exc)

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[object, Never, None]:
        return _block.leave_async(self, exc)

    def _stop(self, exc: BaseException) -> None:
        """End the work: `exc` keeps its owner from waiting for it."""
        self._ending = True
        fatal = isinstance(exc, KeyboardInterrupt | SystemExit)
        self._scope.cancel(exc if fatal else None)

    def _close(self, why: str, *, at_once: bool) -> bool:
        """Refuse work from now on; False, and nothing, if some has come meanwhile."""
        with lock:
            if self._left and not at_once:
                return False
            self._closed = self._closed or why
            return True

    def _verdict(
        self, ended: BaseException | None, *, foreign: bool
    ) -> BaseException | None:
        """What a block raises that ends with `ended`.

        `foreign`: it is the cancel of somebody else, which passes through untouched.
        """
        raise NotImplementedError


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
