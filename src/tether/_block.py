"""The block of a crew: its owner enters it, waits for the work, and leaves.

Unlike that of a scope it is entered also where the context is over, and leaving it
waits. What happens to the owner meanwhile ends the work, is not lost, and does not end
the wait: only a second Ctrl-C does, and a coroutine that is closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from ._clock import INF
from ._current import var as _current
from ._errors import GROUP_TWICE, LEFT_BLOCK, WAITS_FOR_ITSELF, ContextError
from ._interrupt import Stack, anyio_tasks, current_stack
from ._tree import ENTERED, NEW, Node

if TYPE_CHECKING:
    from ._crew import Crew


def enter(crew: Crew) -> None:
    scope = crew._scope
    if scope._state != NEW:
        raise RuntimeError(GROUP_TWICE.format(kind=type(crew).__name__))
    stack = current_stack()
    scope._state = ENTERED
    if stack is not None:
        scope._base = crew._base = stack.task.cancelling()
        if stack.slow:
            crew._base -= sum(stack._told.values())
        stack.blocks.append(scope)
        scope._tether_stack = stack
        if scope._up is not None or len(stack.blocks) > 1:
            stack.cover(scope)
        if anyio_tasks():
            stack.note_anyio(scope)
        if scope._deadline != INF:
            stack.timers.add(scope)
        if scope._ended() is not None:
            stack._fire()
    scope._token = _current.set(scope)


def leave(crew: Crew, exc: BaseException | None) -> None:
    """Wait in a thread for the work, end the block, and raise what is to be raised."""
    ended = exc
    over = crew._is_done if exc is None else crew._is_idle
    try:
        if exc is not None:
            crew._stop(exc)
        while not over() or not crew._close(LEFT_BLOCK, at_once=False):
            try:
                crew._park(over)
            except BaseException as again:
                twice = isinstance(ended, KeyboardInterrupt)
                ended, over = again, crew._is_idle
                crew._stop(again)
                if twice:
                    crew._close(LEFT_BLOCK, at_once=True)
                    break
        _end(crew, exc, ended)
    finally:
        del crew, exc, ended  # a traceback holds this frame


async def leave_async(crew: Crew, exc: BaseException | None) -> None:
    """The same in a task."""
    ended = exc
    over = crew._is_done if exc is None else crew._is_idle
    try:
        if exc is not None:
            crew._stop(exc)
            if not over():
                mute(crew._scope)
        while not over() or not crew._close(LEFT_BLOCK, at_once=False):
            try:
                await crew._pause(over)
            except BaseException as again:
                ended, over = again, crew._is_idle
                crew._stop(again)
                if not isinstance(again, asyncio.CancelledError):
                    crew._close(LEFT_BLOCK, at_once=True)
                    break
        _end(crew, exc, ended)
    finally:
        del crew, exc, ended


def _end(crew: Crew, exc: BaseException | None, ended: BaseException | None) -> None:
    """End the block that `exc` has left, and `ended` the wait in it; raise, or not."""
    canceled = isinstance(ended, asyncio.CancelledError)
    foreign = canceled and _foreign_cancels(crew) > crew._base
    try:
        try:
            crew._scope.__exit__(None if ended is None else type(ended), ended, None)
        except BaseException as given:  # what our interruption has become
            # In the wait it has cut nothing off. What it has of the work, that tells.
            ended = None if exc is None else given
        verdict = crew._verdict(ended, foreign=foreign)
        if verdict is not None and verdict is not exc:
            raise_again(verdict, exc)
    finally:
        del crew, exc, ended


def raise_again(error: BaseException, instead_of: BaseException | None) -> NoReturn:
    """Raise what was raised before, as if it had not met an interruption."""
    context = error.__context__
    try:
        raise error
    finally:
        if isinstance(instead_of, asyncio.CancelledError | ContextError):
            error.__context__ = context
        del error, context, instead_of


def refuse_to_wait(crew: Crew, name: str) -> None:
    """Who waits for the work must not be of it, nor in a forked child."""
    crew._refuse_parents()
    node: object = _current.get()
    while isinstance(node, Node):
        if node._up is crew._scope and any(
            handle._scope is node for handle in [*crew._pieces]
        ):
            kind = type(crew).__name__
            raise RuntimeError(WAITS_FOR_ITSELF.format(name=name, kind=kind))
        node = node._up


# -- the task in the block -------------------------------------------------------


def stack_here(scope: Node) -> Stack | None:
    """The stack of the task that is in the scope's block, if that is the one here."""
    stack: Stack | None = scope._tether_stack  # type: ignore[assignment]
    return stack if stack is not None and stack.is_current() else None


def mute(scope: Node) -> bool:
    """From now on the end of the scope does not interrupt this task, in its block.

    That of an enclosing block does. False: it is not in the block, or has been told.
    """
    stack = stack_here(scope)
    if stack is None or scope in stack._told:
        return False
    stack._told[scope] = 0
    stack.slow = True
    return True


def unmute(scope: Node) -> None:
    """It does again, unless it has come."""
    stack = stack_here(scope)
    if stack is not None and scope._ended() is None:
        stack._told.pop(scope, None)


def _foreign_cancels(crew: Crew) -> int:
    """How often others have canceled the task that is in the block."""
    stack = stack_here(crew._scope)
    if stack is None:
        return 0
    return stack.task.cancelling() - sum(stack._told.values())
