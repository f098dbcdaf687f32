"""A done scope interrupts its task. The only module that knows event loops.

The rule

A task is interrupted when the context of any of its open blocks is done, out to the
nearest block that is a boundary (its context came through `without_cancel()`). The
interruption is `Task.cancel()`, and becomes our error at the exit of the outermost done
block inside the boundary. Each end is delivered once.

How

Every task with an open block has a `Stack`: its blocks from the outside in, and which
of them have been told. `wake()` may be called from anywhere; it brings `look()` to run
as a callback of the task's loop, where the task is suspended. `look()` cancels the task
if a block has ended that was not told, and if the task really waits:

- What the task awaits, seen through awaited tasks, is done already: a connection, an
  item, a lock is on its way to it, and a cancel now would lose it. The task gets it
  first and the look is repeated in the next turn of the loop. A task that never waits
  (a queue ping-pong, `while True: await ready`) is interrupted all the same after TURNS
  turns or PATIENCE seconds.
- An anyio shield is entered inside the ended block: anyio's rules hold inside anyio's
  scopes. The shield does not say when it is left, so the look is repeated by timer.
- A bare yield (`await sleep(0)`) hands nothing over and counts as waiting.

The running task is never canceled, so the cancel always strikes at a suspended await
inside the block and none is left over when the block is left. `Task.cancelling()` goes
up by one for each delivery and is brought back at the exit; what it was on entry tells
whether somebody else has canceled the task as well, and then the CancelledError passes
through untouched (asyncio.timeout's rule).

What is private about it, and what happens where it is missing

- `Task._fut_waiter` (CPython's and uvloop's tasks have it, 3.8 to 3.15): what the task
  awaits. Without it every cancel is delivered at once, as asyncio.timeout does.
- `asyncio.tasks._current_tasks` on 3.11, where `current_task()` is ten times slower.
- `anyio._backends._asyncio._task_states` and the `_parent_scope` of its scopes: where
  the shields are. Without them our interruption goes through shields.

A task object that is not asyncio's (granian's Rust tasks) cannot be canceled; there a
block is like one in a thread.
"""

from __future__ import annotations

import asyncio
import sys
import time
from _thread import get_ident
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextvars import Context as Variables
from typing import Any, final
from weakref import ref

from . import _clock
from ._clock import INF
from ._errors import BLOCKING_ON_LOOP
from ._timers import Timers
from ._tree import DETACHED, End, Node

TURNS = 100
PATIENCE = 0.01
SHIELD_LOOK = 0.001
ANYIO = "anyio._backends._asyncio"

Loop = asyncio.AbstractEventLoop
Task = asyncio.Task[Any]

running_loop: Callable[[], Loop | None] = events._get_running_loop

# A timer must not keep alive the variables of whoever happened to arm it.
_EMPTY = Variables()

if sys.version_info < (3, 12):
    _current_tasks: dict[Loop, Task] = asyncio.tasks._current_tasks  # type: ignore[attr-defined]

    def task_of(loop: Loop) -> Task | None:
        return _current_tasks.get(loop)

else:
    task_of = asyncio.current_task


@final
class LoopState:
    """What tether keeps for one event loop: its timers, stacks, and who is to look."""

    __slots__ = ("_due", "_loop", "_scheduled", "_woken", "purge_at", "stacks", "timers")

    def __init__(self, loop: Loop) -> None:
        # Weak: the loop's own timers refer to this object, and so does `_states`.
        self._loop = ref(loop, lambda _, key=id(loop): _states.pop(key, None))
        self._woken: deque[Stack | Callable[[], None]] = deque()
        self._scheduled = False
        self.timers = Timers(self._arm)
        self.stacks: dict[Task, Stack] = {}
        self.purge_at = 64

    # -- timers ----------------------------------------------------------------

    def _arm(self, when: float) -> None:
        loop = self._loop()
        if loop is None:
            return
        if _clock.virtual is not None:
            _clock.virtual.call_at(when, self._tick_from_outside)
        else:
            delay = when - _clock.now()
            loop.call_later(delay if delay > 0.0 else 0.0, self._tick, context=_EMPTY)

    def _tick(self) -> None:
        timers = self.timers
        due = timers.take(_clock.now())
        for entry in due:
            entry._due()
        if timers.armed != INF:
            self._arm(timers.armed)

    def _tick_from_outside(self) -> None:
        loop = self._loop()
        if loop is not None:
            if running_loop() is loop:
                self._tick()
            else:
                call_soon(loop, self._tick)

    # -- waking ----------------------------------------------------------------

    def wake(self, loop: Loop, woken: Stack | Callable[[], None]) -> None:
        """Have `woken` looked at in the loop, soon. From any thread.

        A hundred thousand of them cost one wake-up of the loop.
        """
        self._woken.append(woken)
        if not self._scheduled:
            self._scheduled = True
            call_soon(loop, self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        woken = self._woken
        while woken:
            one = woken.popleft()
            if isinstance(one, Stack):
                one.look()
            else:
                one()

    # -- stacks ----------------------------------------------------------------

    def stack_of(self, loop: Loop, task: Task) -> Stack:
        stack = self.stacks.get(task)
        if stack is None:
            if len(self.stacks) > self.purge_at:
                # Tasks that ended inside a block that nobody left.
                for old in [one for one in self.stacks if one.done()]:
                    del self.stacks[old]
                self.purge_at = 64 + 2 * len(self.stacks)
            stack = self.stacks[task] = Stack(self, loop, task)
        return stack


_states: dict[int, LoopState] = {}


def state_of(loop: Loop) -> LoopState:
    state = _states.get(id(loop))
    if state is None:
        state = _states[id(loop)] = LoopState(loop)
    return state


def call_soon(loop: Loop, callback: Callable[[], object]) -> None:
    """Run `callback` in the loop; nothing if that is closed. From any thread."""
    try:
        if running_loop() is loop and task_of(loop) is not None:
            # Inside a step of a task the loop is not in its selector, not even if a
            # signal handler has interrupted the step, so it need not be woken.
            loop.call_soon(callback, context=_EMPTY)
        else:
            loop.call_soon_threadsafe(callback, context=_EMPTY)
    except RuntimeError:
        # Asking first would be a race.
        if not loop.is_closed():
            raise


def current_stack() -> Stack | None:
    """The stack of the running task, made if need be; None outside of tasks."""
    loop = running_loop()
    if loop is None:
        return None
    task = task_of(loop)
    if task is None or not isinstance(task, asyncio.Task):
        return None
    return state_of(loop).stack_of(loop, task)


def current_task() -> Task | None:
    """The running task; None outside of tasks."""
    loop = running_loop()
    return None if loop is None else task_of(loop)


def claim(end: End) -> asyncio.CancelledError | None:
    """See `Stack.claim`; None outside of tasks and where no block is open."""
    loop = running_loop()
    state = None if loop is None else _states.get(id(loop))
    if loop is None or state is None:
        return None
    task = task_of(loop)
    stack = None if task is None else state.stacks.get(task)
    return None if stack is None else stack.claim(end)


def refuse_to_block(name: str, cure: str) -> None:
    if running_loop() is not None:
        raise RuntimeError(BLOCKING_ON_LOOP.format(name=name, cure=cure))


@final
class Stack:
    """The open blocks of one task, from the outside in."""

    __slots__ = (
        "_anyio",
        "_boundaries",
        "_cancels",
        "_looks",
        "_since",
        "_told",
        "blocks",
        "loop",
        "state",
        "task",
        "thread",
    )

    def __init__(self, state: LoopState, loop: Loop, task: Task) -> None:
        self.state = state
        self.loop = loop
        self.task = task
        self.thread = get_ident()
        self.blocks: list[Node] = []
        self._told: dict[Node, int] | None = None  # block -> our cancels it answers for
        self._boundaries: set[Node] | None = None
        self._anyio: dict[Node, object] | None = None
        self._looks = 0
        self._since = 0.0

    def is_current(self) -> bool:
        """Whether its task is the one that runs here and now."""
        return self.thread == get_ident() and task_of(self.loop) is self.task

    # -- entering --------------------------------------------------------------

    def cover(self, block: Node) -> None:
        """Take in a block whose parent is not itself an open block of this task.

        Otherwise the parent's end reaches this stack already and, as the block is
        found done then, so does the block's.
        """
        node: Node = block
        while node._up is not None:
            node = node._up
            if node._tether_stack is self:
                break
        else:
            if len(self.blocks) > 1 and came_through_without_cancel(node):
                if self._boundaries is None:
                    self._boundaries = set()
                self._boundaries.add(block)
        up = block._up
        if up is not None and not up._attach(block):
            self._fire()

    def note_anyio(self, block: Node) -> None:
        """Remember which anyio scope the block was entered in."""
        scope = _anyio_scope(self.task)
        if scope is not None:
            if self._anyio is None:
                self._anyio = {}
            self._anyio[block] = scope

    # -- delivering ------------------------------------------------------------

    def _fire(self) -> None:
        self.state.wake(self.loop, self)

    def look(self) -> None:
        """Interrupt the task if a block of it has ended, now or when it may be."""
        task = self.task
        if task.done():
            return
        if task_of(self.loop) is task:
            # Its own step has moved the clock. The task is canceled where it waits.
            call_soon(self.loop, self.look)
            return
        done, held = self._done()
        told = self._told
        due = done if told is None else [one for one in done if one not in told]
        if held:
            self.loop.call_later(SHIELD_LOOK, self.look, context=_EMPTY)
        if not due:
            self._looks = 0
            return
        if _in_hand(task):
            now = time.monotonic()
            if self._looks == 0:
                self._since = now
            self._looks += 1
            if self._looks < TURNS and now - self._since < PATIENCE:
                self.loop.call_soon(self.look, context=_EMPTY)
                return
        self._looks = 0
        if told is None:
            told = self._told = {}
        for block in due:
            told[block] = 0
        told[due[-1]] = 1
        error = due[-1]._ended()
        task.cancel(f"tether: {_text(error)}")

    def _done(self) -> tuple[list[Node], bool]:
        """The ended blocks that may interrupt, from the inside out.

        Out to the first boundary or anyio shield; True if such a shield holds one back.
        """
        done: list[Node] = []
        for block in reversed(self.blocks):
            if block._ended() is not None:
                if self._shielded(block):
                    return done, True
                done.append(block)
            if self._boundaries is not None and block in self._boundaries:
                break
        return done, False

    def _shielded(self, block: Node) -> bool:
        """Whether an anyio shield has been entered inside `block`."""
        scope = _anyio_scope(self.task)
        outside = None if self._anyio is None else self._anyio.get(block)
        while scope is not None and scope is not outside:
            if scope.shield:
                return True
            scope = scope._parent_scope
        return False

    def claim(self, end: End) -> asyncio.CancelledError | None:
        """The interruption to raise in place of an error, if `end` is an open block's.

        So that an inner `except DeadlineExceeded: continue` cannot take the outer
        block's end for its own and spin.
        """
        done, _ = self._done()
        for block in done:
            ended = block._ended()
            if ended is end or (
                ended is not None
                and ended.source is not None
                and ended.source is end.source
            ):
                break
        else:
            return None
        if self._told is None:
            self._told = {}
        for block in done:
            self._told.setdefault(block, 0)
        return asyncio.CancelledError(f"tether: {_text(end)}")

    # -- leaving ---------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Whether the innermost block may just be dropped from `blocks`."""
        return self._told is None and self._boundaries is None and self._anyio is None

    def leave(self, block: Node, exc: BaseException | None) -> Node | None:
        """Drop `block`; the block whose error is to be raised in place of `exc`."""
        here = self.is_current()
        blocks = self.blocks
        gone = [block]
        if block in blocks:
            place = blocks.index(block)
            if here:
                # The blocks inside it are suspended in generators. They interrupt
                # nobody from now on, and what they have done is settled here.
                gone = blocks[place:]
                for inner in gone[1:]:
                    inner._tether_stack = None
                    self.state.timers.discard(inner)  # type: ignore[arg-type]
                del blocks[place:]
            else:
                del blocks[place]
        if self._anyio is not None:
            for one in gone:
                self._anyio.pop(one, None)
            self._anyio = self._anyio or None
        boundary = False
        if self._boundaries is not None:
            boundary = block in self._boundaries
            self._boundaries.difference_update(gone)
            self._boundaries = self._boundaries or None
            if boundary:
                self._fire()  # for what was held back
        told = self._told
        if told is None:
            return None
        mine = [one for one in gone if one in told]
        if not mine:
            return None
        cancels = sum(told.pop(one) for one in mine)
        raised: Node | None = None
        if here and isinstance(exc, asyncio.CancelledError):
            if not boundary and self._pass_on(told, cancels):
                return None
            raised = block if block._ended() is not None else mine[-1]
        self._told = told or None
        for _ in range(cancels):
            if here or running_loop() is self.loop:
                self.task.uncancel()
            else:
                call_soon(self.loop, self.task.uncancel)
        if raised is not None and self.task.cancelling() > block._base:
            return None  # somebody else has canceled the task as well
        return raised

    def _pass_on(self, told: dict[Node, int], cancels: int) -> bool:
        """Leave the interruption to the outermost done block, if there is one."""
        done, _ = self._done()
        if not done:
            return False
        for block in done:
            told.setdefault(block, 0)
        told[done[-1]] += cancels
        return True


def came_through_without_cancel(top: Node) -> bool:
    """Whether a node that nothing above can end owes that to `without_cancel()`."""
    node = top._parent
    while isinstance(node, Node):
        if node._state == DETACHED:
            return True
        node = node._parent
    return False


def _in_hand(task: Task) -> bool:
    """Whether what the task awaits, through awaited tasks, is done already."""
    waiter = getattr(task, "_fut_waiter", None)
    while waiter is not None:
        if waiter.done():
            return True
        if not isinstance(waiter, asyncio.Task):
            return False
        waiter = getattr(waiter, "_fut_waiter", None)
    return False


def _anyio_scope(task: Task) -> Any:
    """The innermost anyio scope of the task, if anyio is in use and looks as known."""
    backend = sys.modules.get(ANYIO)
    states = getattr(backend, "_task_states", None)
    if not states:
        return None
    return getattr(states.get(task), "cancel_scope", None)


def _text(end: End | None) -> str:
    if end is None:
        return ""
    return str(getattr(end.error, "text", end.error))


@final
class Waiter:
    """One wait of one task: hangs on a context and on a deadline."""

    __slots__ = ("_deadline", "_future", "_loop", "_state")

    def __init__(self, until: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._state = state_of(self._loop)
        self._future: asyncio.Future[None] = self._loop.create_future()
        self._deadline = until

    def _due(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def _fire(self) -> None:
        self._state.wake(self._loop, self._due)

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
            raise canceled
