"""Handle: one piece of work of a group, and what has become of it."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, final

from . import _describe, _loops
from ._bell import Bell
from ._errors import FAILED_TOO, HANDLE_BY_HAND, OF_ROOT, TOO_EARLY, UNSEEN

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
        *("__weakref__", "_failure", "_scope", "_state", "_task", "_value", "name"),
    )

    name: str
    """The name of the function that does the work."""

    _failure: Failure | None
    _scope: Scope | None  # until it has ended
    _state: int
    _task: object  # while it runs: loops have only weak references to tasks
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
        failure = self._failure
        if failure is None:
            return None
        failure.seen = True
        return failure.error

    def result(self) -> T_co:
        """What the function returned; raises what it raised.

        `RuntimeError` while it has not ended: a result is there when the block of the
        group has been left, or after `wait()`.
        """
        if self._state < DONE:
            state = _STATES[self._state]
            raise RuntimeError(TOO_EARLY.format(name=self.name, state=state))
        failure = self._failure
        if failure is None:
            return self._value
        try:
            raise failure.see()
        finally:
            del self, failure  # the traceback holds this frame

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

    def _has_left_the_queue(self) -> bool:
        return self._state != QUEUED

    def __repr__(self) -> str:
        failed = " with an error" if self._failure is not None else ""
        return f"<Handle of {self.name}: {_STATES[self._state]}{failed}>"


@final
class Failure:
    """What a piece has failed with.

    It logs that, if it is `logged` and nobody has asked for it when the handle is
    collected. As asyncio does it, but by an object of its own: success pays nothing.
    """

    __slots__ = ("ctx", "error", "logged", "name", "seen", "trace")

    def __init__(self, name: str, error: BaseException, ctx: Scope | None) -> None:
        self.name = name
        self.error = error
        self.trace: TracebackType | None = error.__traceback__
        self.ctx = ctx
        self.logged = False
        self.seen = False

    def see(self) -> BaseException:
        """The error, to be raised: with the traceback that it had at first."""
        self.seen = True
        return self.error.with_traceback(self.trace)

    def note(self) -> str:
        """For the error that it came after."""
        return FAILED_TOO.format(name=self.name, error=repr(self.error))

    def __del__(self) -> None:
        if self.seen or not self.logged:
            return
        site = label = ""
        if self.ctx is not None:
            site, label = _describe.site(self.ctx), self.ctx.label
        logging.getLogger("tether").error(
            UNSEEN.format(
                name=self.name, site=site, label=label and OF_ROOT.format(label=label)
            ),
            exc_info=(type(self.error), self.error, self.trace),
            extra={"ctx": self.ctx},
        )
