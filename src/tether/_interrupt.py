"""A done scope interrupts its task. With `_loops` the only module that knows loops.

The rule

A task is interrupted when the context of any of its open blocks is done, out to the
nearest block that is a boundary: its context came through `without_cancel()`, or it was
released (see `_behalf`), and then its own end interrupts nothing either. The
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
  turns, or PATIENCE seconds and TURNS_AT_LEAST.
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
from typing import Any, final

from ._clock import INF
from ._loops import (
    Loop,
    LoopState,
    Task,
    call_soon,
    no_variables,
    running_loop,
    state_of,
    task_of,
)
from ._loops import states as _states
from ._tree import DETACHED, ENTERED, RELEASED, End, Node

TURNS = 100
TURNS_AT_LEAST = 10  # a machine that stands still takes no turn from the task
PATIENCE = 0.01
SHIELD_LOOK = 0.001
PURGE = 64
ANYIO = "anyio._backends._asyncio"

_Task = asyncio.Task

# In the place of the task of a stack that is not in use: no loop runs it.
NO_TASK: Any = object()


def current_stack() -> Stack | None:
    """The stack of the running task, made if need be; None outside of tasks."""
    loop = running_loop()
    if loop is None:
        return None
    task = task_of(loop)
    if task.__class__ is not _Task and not isinstance(task, _Task):
        return None  # a callback of the loop, or no task of asyncio's
    assert task is not None
    return stack_of(loop, task)


def stack_of(loop: Loop, task: Task) -> Stack:
    """The stack of a task, made if need be. In the thread of the loop."""
    state = _states.get(id(loop)) or state_of(loop)
    stack = state.stacks.get(id(task)) or _new_stack(state, task)
    if stack.task is not task:
        stack.start(loop, task)
    return stack


def _new_stack(state: LoopState, task: Task) -> Stack:
    stacks = state.stacks
    if len(stacks) > state.purge_at:
        # Those of tasks that are gone, also of such that ended inside a block.
        for key, old in [*stacks.items()]:
            if old.task is NO_TASK or old.task.done():
                del stacks[key]
        state.purge_at = PURGE + 2 * len(stacks)
    stack = stacks[id(task)] = Stack(state)
    return stack


def claim(end: End) -> asyncio.CancelledError | None:
    """See `Stack.claim`; None outside of tasks and where no block is open."""
    loop = running_loop()
    state = None if loop is None else _states.get(id(loop))
    if loop is None or state is None:
        return None
    task = task_of(loop)
    stack = state.stacks.get(id(task))
    return stack.claim(end) if stack is not None and stack.task is task else None


def in_a_block() -> bool:
    """Whether the running task has entered a block that is still open."""
    loop = running_loop()
    state = None if loop is None else _states.get(id(loop))
    if loop is None or state is None:
        return False
    task = task_of(loop)
    stack = state.stacks.get(id(task))
    return stack is not None and stack.task is task and bool(stack.blocks)


@final
class Stack:
    """The open blocks of one task, from the outside in.

    When the last one is left it lets go of the task and stays where it is, under the
    task's id: for the next block, or for a later task that gets the same id.
    """

    __slots__ = (
        "_anyio",
        "_boundaries",
        "_looks",
        "_since",
        "_spared",
        "_told",
        "blocks",
        "loop",
        "slow",
        "state",
        "task",
        "thread",
        "timers",
    )

    loop: Loop
    task: Task  # NO_TASK while it is not in use
    thread: int

    def __init__(self, state: LoopState) -> None:
        self.state = state
        self.timers = state.timers
        self.loop = self.task = NO_TASK
        self.blocks: list[Node] = []
        # While `slow` is False the other four are empty, and the innermost block may
        # just be popped.
        self.slow = False
        self._told: dict[Node, int] = {}  # block -> our cancels that it answers for
        self._boundaries: frozenset[Node] = frozenset()
        self._anyio: dict[Node, object] = {}  # block -> the scope it was entered in
        # Block -> the released blocks outside it, since it was open before.
        self._spared: dict[Node, tuple[Node, ...]] = {}
        self._looks = 0
        self._since = 0.0

    def start(self, loop: Loop, task: Task) -> None:
        """Take in a task's first block."""
        self.loop = loop
        self.task = task
        self._looks = 0
        self.thread = 0  # asked for by a block inside the block, if there is one

    def is_current(self) -> bool:
        """Whether its task is the one that runs here and now."""
        if task_of(self.loop) is not self.task:
            return False
        if self.thread == get_ident():
            return True
        # The task runs; here, or in a thread that this one has its variables from?
        if running_loop() is not self.loop:
            return False
        self.thread = get_ident()
        return True

    # -- entering --------------------------------------------------------------

    def cover(self, block: Node) -> None:
        """Take in a block whose parent is not itself an open block of this task.

        Otherwise the parent's end reaches this stack already and, as the block is
        found done then, so does the block's.
        """
        up = block._up
        if len(self.blocks) > 1:
            node: Node = block
            while node._up is not None:
                node = node._up
                if node._tether_stack is self:
                    break
            else:
                if came_through_without_cancel(node):
                    self._boundaries |= {block}
                    self.slow = True
        if up is not None:
            up._hook_up(block)
            # Its deadline is the timers' affair; here it is about an end that came
            # before the chain was hooked.
            while up is not None:
                if up._end is not None:
                    self._fire()
                    break
                up = up._up

    def note_anyio(self, block: Node) -> None:
        """Remember which anyio scope the block was entered in."""
        scope = _anyio_scope(self.task)
        if scope is not None:
            self._anyio[block] = scope
            self.slow = True

    def enter(self, block: Node, *, first: bool) -> None:
        """Take in a block that is entered by somebody else than the task."""
        blocks = self.blocks
        block._tether_stack = self
        block._base = 0 if first else self.task.cancelling()
        blocks.insert(0 if first else len(blocks), block)
        if block._deadline != INF:
            self.timers.add(block)  # type: ignore[arg-type]
        if not first:
            self.note_anyio(block)
        # Those inside it did not know of it: whether they shield their inside from it.
        for one in [*blocks] if first else [block]:
            self.cover(one)
        if block._end is not None:
            self._fire()

    def spare(self, released: Node) -> None:
        """Keep the end of a released block from those that are open inside it."""
        blocks = self.blocks
        if blocks[-1] is not released:
            for block in blocks[blocks.index(released) + 1 :]:
                self._spared[block] = (*self._spared.get(block, ()), released)
                self.slow = True

    # -- delivering ------------------------------------------------------------

    def _fire(self) -> None:
        # From any thread, perhaps while the task leaves its last block: nothing here
        # depends on which task it is.
        self.state.wake(self)

    def look(self) -> None:
        """Interrupt the task if a block of it has ended, now or when it may be."""
        task = self.task
        if task is NO_TASK or task.done():
            return
        if task_of(self.loop) is task:
            # Its own step has moved the clock. The task is canceled where it waits.
            call_soon(self.loop, self.look)
            return
        told = self._told
        if len(self.blocks) == 1 and not anyio_tasks():
            [block] = self.blocks
            held = False
            due = [] if block in told or not self._strikes(block) else [block]
        else:
            done, held = self._done()
            due = [one for one in done if one not in told]
        if held:
            self.loop.call_later(SHIELD_LOOK, self.look, context=no_variables())
        if not due:
            self._looks = 0
            return
        if _in_hand(task):
            now = time.monotonic()
            if self._looks == 0:
                self._since = now
            self._looks += 1
            patient = self._looks < TURNS_AT_LEAST or now - self._since < PATIENCE
            if self._looks < TURNS and patient:
                self.loop.call_soon(self.look, context=no_variables())
                return
        self._looks = 0
        self.slow = True
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
            if self._strikes(block):
                if self._shielded(block):
                    return done, True
                done.append(block)
            if block in self._boundaries or block._state == RELEASED:
                break
        return done, False

    def _strikes(self, block: Node) -> bool:
        """Whether a block has ended, and that may interrupt."""
        end = block._ended()
        if end is None or block._state != ENTERED:
            return False
        return not self._spared or all(
            released._ended() is not end for released in self._spared.get(block, ())
        )

    def _shielded(self, block: Node) -> bool:
        """Whether an anyio shield has been entered inside `block`."""
        if not anyio_tasks():
            return False
        scope = _anyio_scope(self.task)
        outside = self._anyio.get(block)
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
        self.slow = True
        for block in done:
            self._told.setdefault(block, 0)
        return asyncio.CancelledError(f"tether: {_text(end)}")

    # -- leaving ---------------------------------------------------------------

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
        boundary = block in self._boundaries
        self._boundaries -= {*gone}
        if boundary:
            self._fire()  # for what was held back
        told = self._told
        mine = [one for one in gone if one in told]
        cancels = sum(told.pop(one) for one in mine)
        ours = bool(mine) and here and isinstance(exc, asyncio.CancelledError)
        raised: Node | None = None
        if not (ours and not boundary and self._pass_on(cancels)):
            for _ in range(cancels):
                self._uncancel(here)
            if ours and self.task.cancelling() <= block._base:
                raised = block if block._ended() is not None else mine[-1]
            # Above the base somebody else has canceled the task as well.
        for one in gone:
            self._anyio.pop(one, None)
            self._spared.pop(one, None)
        self.reckon()
        return raised

    def reckon(self) -> None:
        """Set `slow` again, after something was taken out of one of the four."""
        self.slow = bool(self._told or self._boundaries or self._anyio or self._spared)

    def _uncancel(self, here: bool) -> None:
        if here or running_loop() is self.loop:
            self.task.uncancel()
        else:
            call_soon(self.loop, self.task.uncancel)

    def _pass_on(self, cancels: int) -> bool:
        """Leave the interruption to the outermost done block, if there is one."""
        done, _ = self._done()
        if not done:
            return False
        for block in done:
            self._told.setdefault(block, 0)
        self._told[done[-1]] += cancels
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


_anyio_data: Any = None


def anyio_tasks() -> Any:
    """Which tasks are in anyio scopes, if anyio is loaded and looks as known."""
    global _anyio_data
    if _anyio_data is None and ANYIO in sys.modules:
        states = getattr(sys.modules[ANYIO], "_task_states", None)
        _anyio_data = getattr(states, "data", ())
    return _anyio_data


def _anyio_scope(task: Task) -> Any:
    """The innermost anyio scope of the task."""
    if not anyio_tasks():
        return None
    states = sys.modules[ANYIO]._task_states
    return getattr(states.get(task), "cancel_scope", None)


def _text(end: End | None) -> str:
    if end is None:
        return ""
    return str(getattr(end.error, "text", end.error))
