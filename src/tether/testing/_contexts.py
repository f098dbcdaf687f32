"""Contexts that a test hands to the code it tests: over, or over at a certain look."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from .. import _clock
from .._context import Context, _made_here
from .._errors import DeadlineExceeded
from .._roots import background
from .._scope import Scope
from .._tree import End, Node

FAR = 1_000_000.0  # a deadline, so that each look reads the clock
# A look is one reading of the clock by one of these, at the whole of a chain.
LOOKS = {Node._ended.__code__, Scope.err.__code__}
LEFT = Context.remaining.__code__  # which reads the clock for its deadline alone


def done_context(
    cause: BaseException | None = None, *, deadline_exceeded: bool = False
) -> Context:
    """A context that is over: for "canceled before the call".

    Canceled, with this cause; or out of time. What gets it must touch nothing, and
    raise `Canceled` or `DeadlineExceeded`.

        >>> from tether.testing import done_context
        >>> done_context().err()
        Canceled('context canceled')
        >>> done_context(deadline_exceeded=True).err()
        DeadlineExceeded('context deadline exceeded')
    """
    frame = sys._getframe(1)
    if deadline_exceeded:
        over = background().with_timeout(0.0, cause, label="done_context()")
        return _made_here(over, frame)
    scope = background().with_cancel(label="done_context()")
    scope.cancel(cause)
    return _made_here(scope, frame)


@contextmanager
def expiring_after(looks: int) -> Iterator[Context]:
    """A context that lasts for so many looks, and is over at the next.

    For the end in the middle, at a place that is the same in each run and without a
    clock. A look is a `done()`, `err()`, `check()`, `require()`, or an item at which
    `poll()` looks, of this context or of one derived from it; a wait looks before and
    after. What waits when it ends is told, as by a deadline; from then on `remaining()`
    is 0.0. 0: it is over at once.

        >>> from tether import Context, DeadlineExceeded
        >>> from tether.testing import expiring_after
        >>> def report(ctx: Context, rows: list[int]) -> int:
        ...     return sum(ctx.poll(rows, every=100))
        >>> with expiring_after(7) as ctx:
        ...     try:
        ...         report(ctx, [1] * 1000)
        ...     except DeadlineExceeded as exc:
        ...         print(exc.detail)
        the ... ran out [expiring_after(7)]; canceled at item 700

    The block does not enter it; leaving the block cancels it. Counted are the looks of
    all threads and tasks.
    """
    if not isinstance(looks, int) or isinstance(looks, bool):
        raise TypeError(f"looks is a whole number, not {looks!r}")
    if looks < 0:
        raise ValueError(f"looks is 0 or more, not {looks}")
    scope = background().with_timeout(FAR, label=f"expiring_after({looks})")
    _made_here(scope, sys._getframe(2))  # above contextlib's
    countdown = _Countdown(scope, looks)
    before = _clock.now
    _clock.now = countdown.now
    try:
        yield scope
    finally:
        _clock.now = before
        scope.cancel()


class _Countdown:
    """Stands at the door of the clock, and ends the scope after so many looks."""

    def __init__(self, scope: Scope, looks: int) -> None:
        self._scope = scope
        self._left = looks
        self._lock = Lock()
        self._read = _clock.now
        if looks == 0:
            self._end()

    def now(self) -> float:
        frame = sys._getframe(1)
        if frame.f_code is LEFT:
            over = self._scope._end is not None and self._is_mine(
                frame.f_locals["self"]
            )
            return self._read() + (FAR if over else 0.0)
        # Hanging something on a node looks too; that is a part of a wait.
        above = frame.f_back
        if frame.f_code in LOOKS and (
            above is None or above.f_code is not Node._attach.__code__
        ):
            self._look(frame.f_locals["self"])
        return self._read()

    def _is_mine(self, node: object) -> bool:
        while isinstance(node, Node) and node is not self._scope:
            node = node._up
        return node is self._scope

    def _look(self, node: Node) -> None:
        if self._scope._end is not None or not self._is_mine(node):
            return
        with self._lock:
            self._left -= 1
            over = self._left <= 0  # whoever counted to 0 may not have ended it yet
        if over:
            self._end()

    def _end(self) -> None:
        # After this reading: the look that is going on still finds that it lasts.
        self._scope._commit(End(DeadlineExceeded, None, self._read()))
