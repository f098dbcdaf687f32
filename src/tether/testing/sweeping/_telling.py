"""Each time that the operation is told of its end, and one that never takes it.

`while True: try: ... except Exception: continue` does not end: each look at a context
that is over raises at once, so no time passes and no task yields. After so many times
it is given up. What is raised then ends it, unless it catches that as well: a thread is
then left standing, and in a task, which nothing else could take the loop from, the look
passes, as if nothing was over.
"""

from __future__ import annotations

import sys
import threading
import traceback
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from typing import Any, Self, final

from ..._context import Context
from ..._scope import Scope
from ..._tree import End
from ._places import callers, is_tethers
from ._trace import Kind, Trace

MANY = 10_000  # times that it is told of its end, and does not end
CAUGHT = 100  # times that it is told that it is given up


@final
class GivenUp(BaseException):
    """Raised in an operation that goes on for ever after its end."""


@final
class Telling:
    """Stands, while it is entered, where a context raises its end.

    `thread` is that of a plain function; `given_up` is called when it is given up.
    """

    def __init__(
        self,
        trace: Trace,
        scope: Scope,
        thread: threading.Thread | None = None,
        given_up: Callable[[], object] | None = None,
    ) -> None:
        self._trace = trace
        self._scope = scope
        self._thread = thread
        self._given_up = given_up
        self._times = 0
        self._told: BaseException | None = None  # the last one in that thread

    def __enter__(self) -> Self:
        self._raise: Any = Context._tether_raise

        def tell(ctx: Context, end: End) -> None:
            if not self.count():
                return
            try:
                self._raise(ctx, end)
            except BaseException as exc:
                self._note(exc, end)
                raise

        Context._tether_raise = tell  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        Context._tether_raise = self._raise  # type: ignore[method-assign]
        self._see()

    def count(self) -> bool:
        """Whether to raise this end; raises if the operation is given up."""
        trace, scope = self._trace, self._scope
        if scope._end is None:
            return True  # of another context: it is not over yet
        self._times += 1
        if self._times <= MANY:
            return True
        if not trace.unending:
            lines = "".join(
                f"\n  at {one}" for one in reversed(callers(sys._getframe()))
            )
            trace.unending = trace.abandoned = True
            if not any(trace.of({Kind.ENDLESS})):
                said = f"it does not end: told of it {MANY:,} times, it goes on{lines}"
                trace.add(Kind.ENDLESS, said)
            if self._given_up is not None:
                self._given_up()
        if self._times <= MANY + CAUGHT:
            raise GivenUp
        if self._is_its_thread():
            forever = allocate_lock()
            forever.acquire()
            forever.acquire()
        return self._thread is not None

    def _note(self, error: BaseException, end: End) -> None:
        """A plain function is told of its end; whether it hears is seen afterwards."""
        if self._is_its_thread() and end is self._scope._ended():
            self._see()
            self._told = error

    def _see(self) -> None:
        """Write down if the last one has come to a line that is not tether's.

        What catches it there, and finishes, ignores it. What tether catches itself, as
        the answer was there before the end, the operation has not been told.
        """
        error, self._told = self._told, None
        if error is not None:
            lines = traceback.walk_tb(error.__traceback__)
            if any(not is_tethers(frame) for frame, _ in lines):
                self._trace.ignored = True

    def _is_its_thread(self) -> bool:
        return self._thread is not None and self._thread.ident == get_ident()
