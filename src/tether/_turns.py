"""The queue for the places of a crew: who comes first starts first.

A thread stands in it itself, as in Go: `go` blocks. In a task, where nothing may block,
the piece stands in it alone, with all that is needed to start it from wherever the
place gets free.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from ._clock import Parker
from ._errors import NEVER_STARTED, Canceled
from ._handle import GIVEN_UP, QUEUED, Failure, Handle
from ._loops import Loop
from ._piece import Piece, start_in_loop, start_thread
from ._tree import lock

if TYPE_CHECKING:
    from ._crew import Crew

Turn = tuple[Handle[Any], Parker | Callable[[], object]]


def take(crew: Crew, piece: Piece, loop: Loop | None, *, as_task: bool) -> bool:
    """Wait for a place; False: the piece waits, and is started when it has one."""
    handle = piece[1]
    parker: Parker | None = None
    start: Parker | Callable[[], object]
    with lock:
        if not 0 <= crew._limit <= crew._running:
            crew._running += 1  # one has got free meanwhile
            return True
        handle._state = QUEUED
        if loop is None:
            start = parker = Parker()
        elif as_task:
            start = partial(start_in_loop, loop, copy_context(), piece)
        else:
            start = partial(start_thread, copy_context(), piece)
        crew._queue.append((handle, start))
    if parker is None:
        return False
    try:
        parker.park()
        if handle._state == GIVEN_UP:
            crew._refuse()
    except BaseException:  # Ctrl-C, or given up
        with lock:
            left = [turn for turn in crew._queue if turn[0] is not handle]
            queued = len(left) < len(crew._queue)
            crew._queue = deque(left)
        if queued:
            give_up(crew, (handle, parker))
        elif handle._state != GIVEN_UP:
            crew._release(handle)  # it had its place already
        raise
    return True


def give_up(crew: Crew, turn: Turn) -> None:
    """End a piece that was taken out of the queue."""
    handle, start = turn
    error = Canceled(NEVER_STARTED.format(name=handle.name))
    handle._failure = Failure(handle.name, error, None)
    if handle._scope is not None:
        handle._scope.cancel()
    with lock:
        crew._pieces.pop(handle, None)
        handle._scope = None
        handle._state = GIVEN_UP
        crew._left -= 1
    if isinstance(start, Parker):
        start.unpark()
    handle._ring()
    if not crew._left:
        crew._ring()
