"""What is over and still runs: the live page and the metrics ask here, so they agree.

A block is open from when it is entered until it is left. It is overdue when its context
has ended before: whatever is inside has not noticed, or takes long to clean up. What
was left in order is done, however long somebody refers to it.

The looks are quick, and none is noticed by what is looked at.
"""

from __future__ import annotations

from . import _clock
from ._clock import INF
from ._interrupt import NO_TASK, Stack
from ._tree import ENTERED, HELD, NO_DEADLINE, RELEASED, End, Node

_OPEN = {ENTERED, HELD, RELEASED}


def is_open(scope: Node) -> bool:
    """Whether its block has been entered, not left, and somebody may be inside.

    A task can end inside of a block that it has never left: then nobody is.
    """
    if getattr(scope, "_state", None) not in _OPEN:  # none yet: it is just being made
        return False
    stack = scope._tether_stack
    return not (
        isinstance(stack, Stack) and stack.task is not NO_TASK and stack.task.done()
    )


def over_since(node: Node) -> float | None:
    """The instant at which it ended; None: it goes on. It is not told of the look."""
    first = INF
    now = _clock.now()
    one: Node | None = node
    while one is not None:
        end = one._end
        if isinstance(end, End):
            first = min(first, end.at)
        elif end is not None:
            first = min(first, end)
        if one._cause is not NO_DEADLINE and one._deadline <= now:
            first = min(first, one._deadline)
        one = one._up
    return None if first == INF else first
