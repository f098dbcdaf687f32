"""Bell: what threads and tasks alike can wait for until a state has changed.

Who changes the state rings; everybody who waits wakes and looks at the state again. So
a ring too many does no harm, and none is lost: a waiter is in the list before it looks.
The list is guarded by the lock of the trees (see `_tree`, 6), as rings come from signal
handlers and finalizers too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._clock import INF, Parker
from ._hooks import real_deadline
from ._loops import Waiter, running_loop, task_of
from ._tree import lock

if TYPE_CHECKING:
    from ._context import Context


class Bell:
    """The waiters; a part of what they wait for."""

    __slots__ = ("_waiters",)

    _waiters: dict[Parker | Waiter, None] | None

    def _ring(self) -> None:
        """Wake all; after the state was changed, under the lock."""
        if self._waiters is None:
            return
        with lock:
            waiters, self._waiters = self._waiters, None
        loop = running_loop()
        for waiter in waiters or ():
            if (
                loop is not None
                and isinstance(waiter, Waiter)
                and waiter._loop is loop
                and task_of(loop) is not None
            ):
                waiter.look()  # inside a step of its loop: no detour
            else:
                waiter._fire()

    def _park(self, over: Callable[[], bool], ctx: Context | None = None) -> bool:
        """Block this thread until `over()`; False: `ctx` has ended before that."""
        node = None if ctx is None else ctx._tether_node()
        until = real_deadline(node)
        while not over():
            if node is not None and node._ended() is not None:
                return False
            parker = Parker()
            self._join(parker)
            try:
                if over():
                    break
                if node is None or node._attach(parker):
                    parker.park(until)
            finally:
                self._part(parker)
                if node is not None:
                    node._detach(parker)
        return True

    async def _pause(
        self, over: Callable[[], bool], ctx: Context | None = None
    ) -> bool:
        """Like `_park`, in a task."""
        node = None if ctx is None else ctx._tether_node()
        until = INF if node is None else real_deadline(node)
        while not over():
            if node is not None and node._ended() is not None:
                return False
            waiter = Waiter(until)
            self._join(waiter)
            try:
                if over():
                    break
                if node is None:
                    await waiter._future
                elif node._attach(waiter):
                    await waiter.wait()
            finally:
                self._part(waiter)
                if node is not None:
                    node._detach(waiter)
        return True

    def _join(self, waiter: Parker | Waiter) -> None:
        with lock:
            if self._waiters is None:
                self._waiters = {}
            self._waiters[waiter] = None

    def _part(self, waiter: Parker | Waiter) -> None:
        if self._waiters is None:
            return
        with lock:
            if self._waiters is not None:
                self._waiters.pop(waiter, None)
                if not self._waiters:
                    self._waiters = None
