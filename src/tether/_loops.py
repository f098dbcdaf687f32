"""What tether keeps for each event loop: its timers, who is to be woken, its tasks.

Together with `_interrupt`, which is about the tasks, the only module that knows event
loops. Nothing here keeps a loop alive.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context as Variables
from typing import Any, Protocol, final
from weakref import ref

from . import _clock
from ._clock import INF
from ._errors import BLOCKING_ON_LOOP
from ._timers import Timers

Loop = asyncio.AbstractEventLoop
Task = asyncio.Task[Any]

running_loop: Callable[[], Loop | None] = events._get_running_loop

# Our callbacks run in empty variables: a timer must not keep alive those of whoever
# happened to arm it. New ones for each, as two threads cannot be in the same at once,
# and a callback that cannot enter is lost.
no_variables = Variables

if sys.version_info < (3, 12):
    # current_task() is ten times slower there, and written in Python.
    _current_tasks: dict[Loop, Task] = asyncio.tasks._current_tasks  # type: ignore[attr-defined]
    task_of: Callable[[Loop], Task | None] = _current_tasks.get
else:
    task_of = asyncio.current_task


class Sleeper(Protocol):
    """What can be woken in its loop."""

    def look(self) -> None: ...


@final
class LoopState:
    """What tether keeps for one event loop: its timers, stacks, and who is to look."""

    __slots__ = (
        *("_handle", "_loop", "_scheduled", "_woken"),
        *("purge_at", "stacks", "timers"),
    )

    def __init__(self, loop: Loop) -> None:
        # Weak: the loop's own timers refer to this object, and so does `states`.
        key = id(loop)
        self._loop = ref(loop, lambda _: states.pop(key, None))
        self._woken: deque[Sleeper] = deque()
        self._scheduled = False
        self._handle: ref[asyncio.TimerHandle] | None = None  # it refers to the loop
        self.timers = Timers(self._arm)
        self.stacks: dict[int, Any] = {}  # by id of the task, see _interrupt
        self.purge_at = 0

    # -- timers ----------------------------------------------------------------

    def _arm(self, when: float) -> None:
        loop = self._loop()
        if loop is None:
            return
        handle = None if self._handle is None else self._handle()
        if handle is not None:
            handle.cancel()
        if _clock.virtual is not None:
            _clock.virtual.call_at(when, lambda: self._tick_from_outside(when))
        else:
            delay = max(0.0, when - _clock.now())
            self._handle = ref(
                loop.call_later(delay, self._tick, context=no_variables())
            )

    def _tick(self) -> None:
        self._handle = None
        timers = self.timers
        due = timers.take(_clock.now())
        for entry in due:
            entry._due()
        if timers.armed != INF:
            self._arm(timers.armed)

    def _tick_from_outside(self, when: float) -> None:
        loop = self._loop()
        if loop is not None and when == self.timers.armed:
            if running_loop() is loop:
                self._tick()
            else:
                call_soon(loop, self._tick)

    # -- waking ----------------------------------------------------------------

    def wake(self, woken: Sleeper) -> None:
        """Have `woken` looked at in the loop, soon. From any thread.

        A hundred thousand of them cost one wake-up of the loop.
        """
        self._woken.append(woken)
        if self._scheduled:
            return
        loop = self._loop()
        if loop is not None:
            self._scheduled = True
            try:
                call_soon(loop, self._flush)
            except BaseException:
                self._scheduled = False
                raise

    def _flush(self) -> None:
        self._scheduled = False
        woken = self._woken
        while woken:
            woken.popleft().look()


states: dict[int, LoopState] = {}


def state_of(loop: Loop) -> LoopState:
    state = states.get(id(loop))
    if state is None:
        state = states[id(loop)] = LoopState(loop)
    return state


def restore(saved: dict[int, LoopState]) -> None:
    """Go on with what was kept before a test clock took over.

    Without what was kept for loops that are gone since: another loop may have the id,
    and would never be woken.
    """
    states.clear()
    states.update(saved)
    for key, state in saved.items():
        if state._loop() is None and states.get(key) is state:
            del states[key]


def call_soon(loop: Loop, callback: Callable[[], object]) -> None:
    """Run `callback` in the loop; nothing if that is closed. From any thread."""
    try:
        # The cheaper question first; on 3.11 the other one asks for the process id.
        if task_of(loop) is not None and running_loop() is loop:
            # Inside a step of a task the loop is not in its selector, not even if a
            # signal handler has interrupted the step, so it need not be woken.
            loop.call_soon(callback, context=no_variables())
        else:
            loop.call_soon_threadsafe(callback, context=no_variables())
    except RuntimeError:
        # Asking first would be a race.
        if not loop.is_closed():
            raise


def current_task() -> Task | None:
    """The running task; None outside of tasks."""
    loop = running_loop()
    return None if loop is None else task_of(loop)


def refuse_to_block(name: str, cure: str) -> None:
    if running_loop() is not None:
        raise RuntimeError(BLOCKING_ON_LOOP.format(name=name, cure=cure))


@final
class Waiter:
    """One wait of one task: hangs on a context and on a deadline."""

    __slots__ = ("_deadline", "_future", "_loop", "_state")

    def __init__(self, until: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._state = state_of(self._loop)
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._deadline = until

    def look(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    _due = look

    def _fire(self) -> None:
        self._state.wake(self)

    def unpark(self) -> None:
        """Wake it: in the next turn if its loop is in a step of a task, else soon."""
        if running_loop() is self._loop and task_of(self._loop) is not None:
            self.look()
        else:
            self._state.wake(self)

    async def wait(self) -> None:
        """Wait until told, until the deadline, or until the task is canceled."""
        if self._deadline == INF:
            await self._future
            return
        timers = self._state.timers
        timers.add(self)
        try:
            await self._future
        finally:
            timers.discard(self)

    async def outlast(self) -> None:
        """Wait until told, whatever happens to the task; a cancel is raised then."""
        canceled: asyncio.CancelledError | None = None
        while not self._future.done():
            try:
                await asyncio.wait((self._future,))
            except asyncio.CancelledError as exc:
                canceled = exc
        if canceled is not None:
            try:
                raise canceled
            finally:
                canceled = None  # its traceback holds this frame
