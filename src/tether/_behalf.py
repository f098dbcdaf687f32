"""Blocks around somebody else's code: begun late, held, and released before the end.

For integrations that call a framework: a web request, a message of a broker. Thousands
of them a second end within a millisecond and never look at their context, so it is made
when it is first asked for, and becomes a block of its task only then or when the work
takes longer.

Invariants

1.  What is made late is what would have been made at the start: its deadline counts
    from there, and it is the outermost block of its task (`bind`).
2.  Until `bind` the scope ends as ever and interrupts nothing.
3.  A held block interrupts nothing either, until it is let go; what is inside it does.
4.  A released block is a boundary: neither its end nor what ends above or around it
    interrupts what is inside, the blocks that were open then included. What comes from
    around it is delivered when it is left. It is not canceled, and its deadline stands
    for who has kept it.

A scope may be begun in any thread. The rest is for the thread of the task's loop.
"""

from __future__ import annotations

from types import CodeType

from . import _interrupt
from ._clock import INF
from ._context import Context
from ._errors import ContextError
from ._loops import Loop, Task
from ._scope import Scope, derive_at
from ._tree import ENTERED, HELD, RELEASED, Node


def begin(
    parent: Context,
    since: float,
    seconds: float | None,
    label: str,
    site: tuple[CodeType, int],
    cause: BaseException | None = None,
) -> Scope:
    """A scope below `parent` whose block is open since the instant `since`.

    Leave it with `__exit__`. `site` is the code and the instruction that its errors
    name, `cause` what they give as the reason for its time.
    """
    when = INF if seconds is None else since + seconds
    return derive_at(parent, since, when, cause, label, site)


def bind(scope: Scope, loop: Loop, task: Task, *, first: bool) -> None:
    """Make it a block of the task: the outermost, or, if not `first`, the innermost."""
    if scope._state in {ENTERED, HELD} and scope._tether_stack is None:
        _interrupt.stack_of(loop, task).enter(scope, first=first)


def hold(scope: Scope) -> None:
    """Leave it to somebody else to stop what is inside the block."""
    if scope._state == ENTERED:
        scope._state = HELD


def let_go(scope: Scope) -> None:
    """Interrupt again, now if it has ended meanwhile."""
    if scope._state == HELD:
        scope._state = ENTERED
        if scope._tether_stack is not None and scope._ended() is not None:
            scope._tether_stack._fire()


def release(scope: Scope) -> None:
    """Interrupt no more, for good; `current()` has its values without its end."""
    if scope._state in {ENTERED, HELD}:
        scope._state = RELEASED
        stack: _interrupt.Stack | None = scope._tether_stack  # type: ignore[assignment]
        if stack is not None:
            stack.spare(scope)


def tells_of(exc: BaseException, scope: Scope) -> bool:
    """Whether an exception says no more than that the scope has ended.

    By itself or with something above it; also a group of nothing else.
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(tells_of(one, scope) for one in exc.exceptions)
    node: Node | None = scope if isinstance(exc, ContextError) else None
    while node is not None and node is not exc.ctx:  # type: ignore[attr-defined]
        node = node._up
    return node is not None
