"""Handle: one piece of work of a group, and what has become of it."""

from __future__ import annotations

import logging
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, final

from . import _describe, _loops
from ._bell import Bell
from ._errors import HANDLE_BY_HAND, OF_ROOT, TOO_EARLY, UNSEEN

if TYPE_CHECKING:
    from ._context import Context
    from ._scope import Scope

T_co = TypeVar("T_co", covariant=True)

QUEUED, RUNNING, DONE, GIVEN_UP = range(4)
_STATES = ("queued", "running", "done", "given up")


@final
class Handle(Bell, Generic[T_co]):
    """What `go()` gives back: one piece of work, and its result when it has ended.

    It belongs to whoever wants the result. Dropping it ends nothing, and a result that
    nobody holds a handle of is kept by nobody.

        >>> from tether import Context, Group, background
        >>> def double(ctx: Context, number: int) -> int:
        ...     return 2 * number
        >>> with Group(background()) as group:
        ...     handle = group.go(double, 21)
        >>> handle.result(), handle.name
        (42, 'double')
    """

    __slots__ = (
        *("__weakref__", "_code", "_error", "_lasti", "_scope", "_state", "_task"),
        *("_tb", "_unseen", "_value", "name"),
    )

    name: str
    """The name of the function that does the work."""

    _code: CodeType  # where it was started, as in the nodes of the tree
    _error: BaseException | None
    _lasti: int
    _scope: Scope | None  # while it runs
    _state: int
    _task: object  # while it runs: loops have only weak references to tasks
    _tb: TracebackType | None
    _unseen: Unseen | None  # logs the error if nobody asks for it
    _value: T_co

    def __new__(cls) -> Self:
        raise TypeError(HANDLE_BY_HAND)

    def done(self) -> bool:
        """Whether the work has ended, in whatever way."""
        return self._state >= DONE

    @property
    def error(self) -> BaseException | None:
        """What it failed with; None while it runs, and if it has not failed.

        Work that the end of its context has interrupted has failed with that end, a
        `Canceled` or `DeadlineExceeded`, and so has work that somebody else canceled.
        """
        self._see()
        return self._error

    def result(self) -> T_co:
        """What the function returned; raises what it raised.

        `RuntimeError` while it has not ended: a result is there when the block of the
        group has been left, or after `wait()`.
        """
        if self._state < DONE:
            state = _STATES[self._state]
            raise RuntimeError(TOO_EARLY.format(name=self.name, state=state))
        error = self._error
        if error is None:
            return self._value
        self._see()
        try:
            raise error.with_traceback(self._tb)
        finally:
            del self, error  # the traceback holds this frame

    def wait(self, ctx: Context | None = None) -> T_co:
        """Block this thread until it has ended; then as `result()`.

        Raises the error of `ctx`, if one is given and ends first; the work goes on. In
        a task: `await handle.wait_async()`.
        """
        _loops.refuse_to_block("wait", "await handle.wait_async()")
        if not self._park(self.done, ctx) and ctx is not None and not self.done():
            ctx.check()
        return self.result()

    async def wait_async(self, ctx: Context | None = None) -> T_co:
        """Wait in a task until it has ended; then as `result()`."""
        there = await self._pause(self.done, ctx)
        if not there and ctx is not None and not self.done():
            ctx.check()
        return self.result()

    async def started(self) -> None:
        """Wait in a task until the work has its place under the limit and begins.

        In a thread there is nothing to wait for: there `go()` blocks so long. Raises
        the error of work that was given up before it could start.
        """
        await self._pause(self._has_left_the_queue)
        if self._state == GIVEN_UP:
            self.result()

    def _see(self) -> None:
        """Somebody knows of the error."""
        unseen = self._unseen
        if unseen is not None:
            unseen.error = None
            self._unseen = None

    def _has_left_the_queue(self) -> bool:
        return self._state != QUEUED

    def __repr__(self) -> str:
        failed = " with an error" if self._error is not None else ""
        return f"<Handle of {self.name}: {_STATES[self._state]}{failed}>"


@final
class Unseen:
    """Logs the failure of a piece whose handle is collected before anybody asked.

    As asyncio does it, but an object of its own: so what succeeds pays nothing.
    """

    __slots__ = ("_code", "_lasti", "ctx", "error", "name", "trace")

    def __init__(self, handle: Handle[object], ctx: Scope | None) -> None:
        self.name = handle.name
        self.error = handle._error
        self.trace = handle._tb
        self.ctx = ctx
        self._code, self._lasti = handle._code, handle._lasti

    def __del__(self) -> None:
        if self.error is None:
            return
        label = "" if self.ctx is None else self.ctx.label
        text = UNSEEN.format(
            name=self.name,
            site=_describe.site(cast(Any, self)),
            label=OF_ROOT.format(label=label) if label else "",
        )
        logging.getLogger("tether").error(
            text,
            exc_info=(type(self.error), self.error, self.trace),
            extra={"ctx": self.ctx},
        )


def new_handle(name: str, code: CodeType, lasti: int) -> Handle[object]:
    handle: Handle[object] = object.__new__(Handle)
    handle.name = name
    handle._code = code
    handle._lasti = lasti
    handle._state = RUNNING
    handle._error = handle._scope = handle._task = handle._unseen = None
    handle._waiters = None
    return handle
