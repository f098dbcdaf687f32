"""Interruptions of ours that were delivered while a task had to wait on.

`_interrupt` interrupts a task where it waits. What waits for a thread, and gets a
result from it in the end, gives the interruption back, so that it strikes at the next
wait and the result is handed over: the polite rule for what takes longer than a turn.
"""

from __future__ import annotations

from typing import final

from ._interrupt import Stack
from ._loops import Task, states
from ._tree import Node


@final
class Outlast:
    """What has been delivered to the running task up to now."""

    __slots__ = ("_foreign", "_stack", "_task", "_told")

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stack: Stack | None = None
        self._told: dict[Node, int] = {}
        state = states.get(id(task.get_loop()))
        stack = None if state is None else state.stacks.get(id(task))
        if stack is not None and stack.task is task:
            self._stack = stack
            self._told = {**stack._told}
        self._foreign = task.cancelling() - self._ours()

    def _ours(self) -> int:
        return 0 if self._stack is None else sum(self._stack._told.values())

    def only_ours(self) -> bool:
        """Whether all that came since is the end of enclosing blocks."""
        ours = self._ours()
        return (
            ours > sum(self._told.values())
            and self._task.cancelling() - ours <= self._foreign
        )

    def take_back(self) -> None:
        """Have what came since delivered again, at the next wait."""
        stack = self._stack
        assert stack is not None
        for block in [*stack._told]:
            if block not in self._told:
                for _ in range(stack._told.pop(block)):
                    self._task.uncancel()
        stack.reckon()
        stack._fire()
