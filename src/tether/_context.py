"""Context: what every context can do, whoever made it.

Everything here is said in terms of what a user-made context defines (`deadline`,
`err()`, `value()`, `done_signal()`, perhaps `after_func()`), or is done by the node
that ends the context (`_node()`). `_scope` does the hot part of it faster for the
contexts that tether makes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from . import _clock, _describe, _foreign, _hooks, _interrupt, _loops
from ._bind import Bound
from ._checks import callable_, seconds_
from ._clock import INF, Parker
from ._errors import (
    AT_ITEM,
    NOT_A_COUNT,
    TOO_LITTLE_LEFT,
    ContextError,
    DeadlineExceeded,
)
from ._interrupting import Interrupting
from ._keys import Key
from ._signal import Signal
from ._tree import End, Node

if TYPE_CHECKING:
    from ._scope import Scope

T = TypeVar("T")
D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")


class Context:
    """How long a piece of work may last, when it is over, and what it carries along.

    A context is handed down as the first argument, `ctx`, of every function that can
    wait. It is a value: any number of tasks and threads may hold it. Who has only a
    `Context` can derive from it and ask it, and cannot end it; that is for the owner
    of a `Scope`.

        >>> from tether import background
        >>> with background().with_timeout(2.0) as ctx:
        ...     ctx.done(), 1.9 < ctx.remaining() <= 2.0
        (False, True)

    A user-made context is a subclass that overrides `deadline`, `err()`, `value()` and
    `done_signal()`, and may override `after_func()`. Its end is taken over when its
    signal is set; the deadline that it shows is never compared with the clock.
    """

    __slots__ = ()

    # Private names say whose they are: a subclass may have an `_error` of its own.
    _tether_stack: Any = None

    # -- what a user-made context overrides ------------------------------------

    @property
    def deadline(self) -> float | None:
        """When it ends, on the clock of `time.monotonic()`; None if no time is set."""
        return None

    def err(self) -> BaseException | None:
        """None while it lasts; then a new `Canceled` or `DeadlineExceeded`.

        Below a user-made context it may be any exception that one ended with.
        """
        return None

    @overload
    def value(self, key: Key[T]) -> T | None: ...
    @overload
    def value(self, key: Key[T], default: D) -> T | D: ...
    def value(self, key: Key[Any], default: object = None) -> object:  # noqa: ARG002
        """The nearest value that was set for `key` here or above, else `default`."""
        return default

    def done_signal(self) -> Signal:
        """The signal that is set when it ends; a plain wrapper returns its parent's.

        A callback added to it runs in whichever thread finds the end, and must not
        block. `after_func()` has no such rule.
        """
        return _hooks.DoneSignal(None)

    # -- deriving --------------------------------------------------------------

    def with_cancel(self, *, label: str | None = None) -> Scope:
        """A scope below this context, which `scope.cancel()` ends.

        `label` names the work that begins here, as "GET /users/{id}"; it is inherited
        and shown in the detail of errors.
        """
        scope = _foreign.adopt(self).with_cancel(label=label)
        return _made_here(scope, sys._getframe(1))

    def with_timeout(
        self,
        seconds: float,
        cause: BaseException | None = None,
        *,
        reserve: float = 0.0,
        label: str | None = None,
    ) -> Scope:
        """A scope below this context that ends at the latest in so many seconds.

        It can only shrink what is left: below a context with 1 s left, 5 s are 1 s.
        `reserve` keeps that many seconds of this context's own time back, for the work
        that comes after. Zero or less is a scope that is over already. `cause` is what
        `cause()` gives if it is this timeout that ends it.

            >>> from tether import background
            >>> with background().with_timeout(1.0) as request:
            ...     with request.with_timeout(5.0, reserve=0.25) as query:
            ...         0.7 < query.remaining() <= 0.75
            True
        """
        scope = _foreign.adopt(self).with_timeout(
            seconds, cause, reserve=reserve, label=label
        )
        return _made_here(scope, sys._getframe(1))

    def with_deadline(
        self,
        when: float,
        cause: BaseException | None = None,
        *,
        reserve: float = 0.0,
        label: str | None = None,
    ) -> Scope:
        """A scope below this context that ends at the latest at `when`.

        `when` is an instant of `time.monotonic()`; the rest is as in `with_timeout`.
        """
        scope = _foreign.adopt(self).with_deadline(
            when, cause, reserve=reserve, label=label
        )
        return _made_here(scope, sys._getframe(1))

    def with_value(self, key: Key[T], value: T) -> Context:
        """A context that ends with this one and carries `value` under `key`.

        For metadata of the request (its id, its trace, its user), not for passing
        connections or configuration past signatures.
        """
        return _foreign.adopt(self).with_value(key, value)

    def without_cancel(self) -> Context:
        """A context with the same values that nothing can end.

        For work that must outlive a request and still carry its trace, and for a
        roll-back that must not be interrupted. Give it a time of its own:

            >>> from tether import background
            >>> with background().with_timeout(1.0) as request:
            ...     detached = request.without_cancel()
            >>> detached.deadline is None, detached.done()
            (True, False)

        A block entered with it, or with what is derived from it, shields its inside
        from the end of the blocks around it until it is left.
        """
        return _foreign.adopt(self).without_cancel()

    # -- asking ----------------------------------------------------------------

    def done(self) -> bool:
        """Whether it is over."""
        return self.done_signal().is_set()

    def cause(self) -> BaseException | None:
        """Why it is over: what `cancel(cause)` was given, else like `err()`."""
        node = self.value(_foreign.SCOPE, None)
        if isinstance(node, Context):
            cause = node.cause()
            if cause is not None:
                return cause
        return self.err()

    def remaining(self) -> float:
        """The seconds until its deadline, never below 0; `inf` if it has none."""
        when = self.deadline
        return INF if when is None else max(0.0, when - _clock.now())

    @property
    def label(self) -> str:
        """The name of the work that it belongs to, "" if nobody gave one."""
        return self.value(_describe.LABEL, "")

    def check(self) -> None:
        """Nothing while it lasts; raises its error when it is over.

        In a task, when the end is that of an enclosing `with` block, what is raised is
        the interruption itself (`asyncio.CancelledError`), which becomes the error at
        the exit of that block: so a handler further in cannot mistake it for its own.
        """
        end = self._tether_end_of()
        if end is not None:
            self._tether_raise(end)

    def require(self, seconds: float) -> None:
        """Nothing if at least so many seconds are left; else `DeadlineExceeded` now.

        For refusing work at the door that could not be finished anyway. The context
        itself goes on.
        """
        wanted = seconds_("seconds", seconds)
        self.check()
        left = self.remaining()
        if left < wanted:
            raise DeadlineExceeded(
                TOO_LITTLE_LEFT.format(wanted=wanted, left=left), ctx=self
            )

    def poll(self, items: Iterable[T], every: int = 100) -> Iterator[T]:
        """The items one by one, with a `check()` before every `every` of them.

        For loops that compute and never wait. The detail of the error names the item
        that was not begun.
        """
        if not isinstance(every, int) or every < 1:
            raise (ValueError if isinstance(every, int) else TypeError)(
                NOT_A_COUNT.format(value=every)
            )
        return self._tether_poll(items, every)

    def _tether_poll(self, items: Iterable[T], every: int) -> Iterator[T]:
        for index, item in enumerate(items):
            if index % every == 0:
                try:
                    self.check()
                except ContextError as exc:
                    exc.add_detail(AT_ITEM.format(index=index))
                    raise
                except asyncio.CancelledError as exc:
                    exc.add_note(AT_ITEM.format(index=index))
                    raise
            yield item

    # -- waiting ---------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it is over, at most `timeout` seconds; `done()`.

        In a task: `await ctx.wait_async()`.
        """
        _loops.refuse_to_block("wait", "await ctx.wait_async()")
        self._tether_park(_until("timeout", timeout))
        return self.done()

    def sleep(self, seconds: float) -> None:
        """Block this thread for so long; raises the context's error if it ends first.

        In a task: `await ctx.sleep_async()`.
        """
        _loops.refuse_to_block("sleep", "await ctx.sleep_async()")
        until = _clock.now() + seconds_("seconds", seconds)
        self.check()
        if self._tether_park(until):
            self.check()

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Wait in a task until it is over, at most `timeout` seconds; `done()`."""
        await self._tether_wait(_until("timeout", timeout))
        return self.done()

    async def sleep_async(self, seconds: float) -> None:
        """Wait in a task for so long; raises as `check()` does if it ends first."""
        until = _clock.now() + seconds_("seconds", seconds)
        self.check()
        if until <= _clock.now():
            await asyncio.sleep(0)
            self.check()
        elif await self._tether_wait(until):
            self.check()

    def _tether_park(self, until: float) -> bool:
        """Block until the end (True) or until the clock shows `until` (False)."""
        node = self._tether_node()
        parker = Parker()
        if node is None:
            parker.park(until)
            return False
        if until > _clock.now() and node._attach(parker):
            try:
                parker.park(min(until, _hooks.real_deadline(node)))
            finally:
                node._detach(parker)
        return node._ended() is not None

    async def _tether_wait(self, until: float) -> bool:
        node = self._tether_node()
        if node is None:
            await _loops.Waiter(until).wait()
            return False
        if until > _clock.now():
            waiter = _loops.Waiter(min(until, _hooks.real_deadline(node)))
            if node._attach(waiter):
                try:
                    await waiter.wait()
                finally:
                    node._detach(waiter)
        return node._ended() is not None

    # -- being told ------------------------------------------------------------

    def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
        """Have `fn` called in a thread of tether's once this context is over.

        Never in the caller's stack and never on an event loop's thread; at once if it
        is over already. Returns `stop`: `stop()` is True if `fn` is now never called,
        False if it has been started, or stopped before. Nothing waits for it.

            >>> import threading
            >>> from tether import background
            >>> told = threading.Event()
            >>> with background().with_cancel() as ctx:
            ...     stop = ctx.after_func(told.set)
            >>> told.wait(5), stop()
            (True, False)
        """
        hook = _hooks.AfterFunc(self._tether_node(), callable_("after_func", fn))
        hook.start()
        return hook.stop

    def interrupting(self, fn: Callable[[], object]) -> Interrupting:
        """A block in which `fn` is called from another thread if this context ends.

        `fn` is what makes a blocking call of another library return: `conn.cancel`,
        the shutdown of a socket, the kill of a process. Entering raises if the context
        is over. Leaving waits for an `fn` that is running, and raises the context's
        error if it has run, from whatever error it has caused:

            with ctx.interrupting(conn.cancel_safe):
                conn.execute(...)

        In a task use `async with`.
        """
        return Interrupting(self, callable_("interrupting", fn))

    def bind(self, fn: Callable[P, R]) -> Callable[P, R]:
        """`fn`, to be called elsewhere with this context as `current()`.

        For executors, foreign threads and callbacks of other libraries. It carries the
        other context variables of this place too (a trace, a user), each call with a
        copy of its own. The parameters are those of `fn`: a function that takes `ctx`
        first is still given it. The context may be over when it is called.

            >>> from concurrent.futures import ThreadPoolExecutor
            >>> from tether import background, current
            >>> with background().with_timeout(5.0, label="GET /") as ctx:
            ...     with ThreadPoolExecutor() as pool:
            ...         pool.submit(ctx.bind(lambda: current().label)).result()
            'GET /'
        """
        return Bound(self, fn)

    def fileno(self) -> int:
        """A file descriptor that is readable once this context is over.

        For `select` and its kin. It belongs to the context: do not read or close it.
        It is closed when the context is collected.
        """
        return _hooks.fileno(self, self._tether_node())

    # -- what ends it ----------------------------------------------------------

    def _tether_node(self) -> Node | None:
        """The node that ends this context; None if nothing can."""
        return _foreign.join(self)[0]

    def _tether_end_of(self) -> End | None:
        node = self._tether_node()
        return None if node is None else node._ended()

    def _tether_error(self, end: End) -> BaseException:
        """A new error for this end, or the one that a user-made context ended with."""
        node = self._tether_node()
        while node is not None and node._up is not None and node._up._ended() is end:
            node = node._up
        error = end.error
        if isinstance(error, type):
            owner: Any = end.source or node
            error = error(ctx=owner)
            if end.cause is not None:
                error.__cause__ = end.cause
        return error

    def _tether_raise(self, end: End) -> NoReturn:
        error = _interrupt.claim(end) or self._tether_error(end)
        try:
            raise error
        finally:
            del error  # or the traceback, which holds this frame, would be a cycle

    def _tether_tell_end(self) -> str:
        return _describe.end_of(self)

    def __str__(self) -> str:
        return _describe.text(self, Context.__str__)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a context belongs to its process and cannot be pickled or copied; "
            "send what is left of its time and the values that matter"
        )


def _made_here(scope: Scope, frame: FrameType) -> Scope:
    """The scope, with the place of the user's call in place of ours."""
    scope._code = frame.f_code
    scope._lasti = frame.f_lasti
    return scope


def _until(name: str, timeout: float | None) -> float:
    return INF if timeout is None else _clock.now() + seconds_(name, timeout)
