"""Interruptions of ours that were delivered while a task had to wait on.

`_interrupt` interrupts a task where it waits. What waits for a thread, and gets a
result from it in the end, gives the interruption back, so that it strikes at the next
wait and the result is handed over: the polite rule for what takes longer than a turn.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, final

from ._context import Context
from ._errors import ContextError
from ._interrupt import Stack, _anyio_scope, claim
from ._loops import Task, current_task, states
from ._tree import Node

T = TypeVar("T")


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


async def outlasting(
    work: Coroutine[Any, Any, T], told: Callable[[], object] | None = None
) -> T:
    """The result of `work`, which runs to its end whatever happens to this task.

    For what must not be left half done: a commit, a roll-back. It runs in a task of its
    own, so no end of a block around this one and no anyio scope reaches it, and has to
    limit its time by itself; `told` is called for each cancel that comes. A cancel of
    somebody else's is raised afterwards, in place of the result; the end of a block
    strikes at the next wait.
    """
    task = current_task()
    assert task is not None
    before = Outlast(task)
    canceled: asyncio.CancelledError | None = None
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            shield = nullcontext() if canceled is None else _anyio_shield(task)
            try:
                with shield:
                    await _end_of(working)
            except asyncio.CancelledError as exc:
                canceled = exc
                if told is not None:
                    told()
        if canceled is not None:
            if not before.only_ours():
                failed = None if working.cancelled() else working.exception()
                raise canceled from failed
            before.take_back()
        return working.result()
    finally:
        canceled = None  # its traceback holds this frame
        del working


def _end_of(working: asyncio.Future[Any]) -> asyncio.Future[None]:
    """Done when `working` is; to be canceled in its place."""
    end: asyncio.Future[None] = working.get_loop().create_future()

    def look(_: object) -> None:
        if not end.done():
            end.set_result(None)

    working.add_done_callback(look)
    return end


async def at_once(work: Coroutine[Any, Any, T]) -> T:
    """In the place of `outlasting`, in a task of `apart`'s, which nothing reaches."""
    return await work


async def apart(ctx: Context, work: Callable[[Context], Coroutine[Any, Any, T]]) -> T:
    """The result of `work`, which is told of a cancel and not interrupted by it.

    It is given a context that ends with `ctx`, or when this task is canceled, by
    whomever and however often, and this task waits until it has obeyed. For drivers
    that have to talk to their server to stop, and lose the connection if they are
    interrupted while they do; anyio interrupts again and again.
    """
    # Not entered: it would interrupt this task, which waits for the other.
    scope = ctx.with_cancel()
    try:
        return await outlasting(work(scope), scope.cancel)
    except ContextError as exc:
        end = ctx._tether_end_of()
        claimed = None if end is None else claim(end)
        if claimed is None:
            raise
        try:
            raise claimed from exc.__cause__
        finally:
            del claimed  # its traceback holds this frame
    finally:
        scope.cancel()


def _anyio_shield(task: Task) -> AbstractContextManager[object]:
    # A canceled scope of anyio's cancels again in each turn of the loop.
    if _anyio_scope(task) is None:
        return nullcontext()
    shield: AbstractContextManager[object]
    shield = sys.modules["anyio"].CancelScope(shield=True)
    return shield
