"""One piece of work, from its start in a task or a thread to its end.

It runs in a scope of its own below its crew's, entered where it runs. These scopes are
not hooked into the tree: the crew is, once for all of its tasks, and passes the end on
(hooking each costs half as much again as the rest). Their deadlines are timers of their
own.

What is to be done at the end is done by the thread or coroutine that does the work. A
coroutine is brought into its `try` before a task gets it, so a task that is
canceled before its first step, or collected with its loop, ends its piece too.

The traceback of what a piece fails with begins in the user's function. So no exception
leads to the handle that keeps it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context as Variables
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

from . import _clock
from ._clock import INF
from ._context import Context
from ._current import var as _current
from ._errors import (
    CANCELED_ELSEWHERE,
    GO_TAKES_A_FUNCTION,
    LOOP_WENT,
    RETURNED_A_COROUTINE,
    Canceled,
)
from ._handle import DONE, GIVEN_UP, Handle
from ._interrupt import current_stack
from ._loops import Loop, no_variables, task_of
from ._loops import states as _states
from ._scope import NO_TOKEN, Scope
from ._tree import ENTERED, GIL, NEW, lock

if TYPE_CHECKING:
    from ._crew import Crew

Work = Callable[..., Any]
# The crew, the handle, the scope, the function and its arguments.
Piece = tuple["Crew", Handle[Any], Scope, Work, tuple[Any, ...], dict[str, Any]]

# Whose end the error of a piece may tell of.
ANOTHER, OURS, ABOVE = range(3)

EAGER = sys.version_info >= (3, 12)
# A task that is started eagerly runs in the frame of who started it. Tasks that start
# tasks would nest without end, so further down they start as tasks do otherwise.
DEEPEST = 16


_depth: dict[int, int] = {}  # by loop

# -- starting --------------------------------------------------------------------


def start_thread(variables: Variables, piece: Piece) -> None:
    crew, handle, *_ = piece
    threading.Thread(
        target=variables.run,
        args=(_work, *piece),
        name=f"{type(crew).__name__}: {handle.name}",
        # The program ends after its work, also after what a daemon has started.
        daemon=False,
    ).start()


def start_task(
    loop: Loop,
    crew: Crew,
    handle: Handle[Any],
    scope: Scope,
    fn: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Start a task in the running loop, at once where that is possible."""
    try:
        if loop.get_task_factory() is not None:
            start_nested(loop, (crew, handle, scope, fn, args, kwargs))
        elif EAGER:
            key = id(loop)
            if key in _depth:
                start_nested(loop, (crew, handle, scope, fn, args, kwargs))
                return
            _depth[key] = 1
            try:
                task: asyncio.Task[None] = asyncio.Task(  # type: ignore[call-arg,unused-ignore]
                    # Nothing can come before its first step: it need not be primed.
                    _work_async(crew, handle, scope, fn, args, kwargs, loop, False),
                    loop=loop,
                    name=handle.name,
                    eager_start=True,
                )
            finally:
                del _depth[key]
            if handle._state < DONE:
                handle._task = task
                if not crew._hooked:
                    crew._watch()
        else:
            coro = _work_async(crew, handle, scope, fn, args, kwargs, loop, True)
            coro.send(None)  # into its try
            handle._task = asyncio.Task(coro, loop=loop, name=handle.name)
            if not crew._hooked:
                crew._watch()
    finally:
        del crew, handle, scope  # a traceback may refer to this frame


def start_nested(loop: Loop, piece: Piece) -> None:
    """The same, where a factory makes the tasks, or inside the first step of another.

    That may run the first step here and now.
    """
    key = id(loop)
    depth = _depth.get(key, 0)
    if depth >= DEEPEST:
        start_in_loop(loop, copy_context(), piece)
        return
    _depth[key] = depth + 1
    try:
        _start(loop, piece, _prime(loop, piece), None, eager=EAGER)
    finally:
        if depth:
            _depth[key] = depth
        else:
            del _depth[key]
        del piece


def start_in_loop(loop: Loop, variables: Variables, piece: Piece) -> None:
    """Start a task in its loop; from any thread. `RuntimeError` if that is closed."""
    coro = _prime(loop, piece)
    start = partial(_start, loop, piece, coro, variables)
    try:
        loop.call_soon_threadsafe(start, context=no_variables())
    except RuntimeError:
        piece[1]._state = GIVEN_UP
        coro.close()
        raise


def _prime(loop: Loop, piece: Piece) -> Coroutine[Any, None, None]:
    coro = _work_async(*piece, loop, True)
    coro.send(None)
    return coro


def _start(
    loop: Loop,
    piece: Piece,
    coro: Coroutine[Any, None, None],
    variables: Variables | None,
    *,
    eager: bool = False,
) -> None:
    """Make the task of a coroutine that is in its `try`."""
    crew, handle, *_ = piece
    name = handle.name
    task: asyncio.Task[None]
    try:
        if loop.get_task_factory() is not None:
            task = loop.create_task(coro, name=name, context=variables)
        elif eager:
            task = asyncio.Task(  # type: ignore[call-arg,unused-ignore]
                coro, loop=loop, name=name, context=variables, eager_start=True
            )
        else:
            task = asyncio.Task(coro, loop=loop, name=name, context=variables)
    except Exception as exc:  # of a factory, or of a loop that is closing
        with suppress(StopIteration):
            coro.throw(exc)  # it is the piece that fails
    else:
        if handle._state < DONE:
            handle._task = task
            if not crew._hooked:
                crew._watch()
    finally:
        del piece, handle


# -- working ---------------------------------------------------------------------


def _work(
    crew: Crew,
    handle: Handle[Any],
    scope: Scope,
    fn: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """A piece in a thread."""
    try:
        if crew._timeout is not None:
            _limit(scope, crew._timeout)
        scope._state = ENTERED
        scope._token = _current.set(scope)
        value = fn(scope, *args, **kwargs)
        if isinstance(value, CoroutineType):
            value.close()
            raise TypeError(RETURNED_A_COROUTINE.format(name=handle.name))  # noqa: TRY301
        handle._value = value
    except BaseException as exc:
        _fail(crew, handle, scope, exc)
    else:
        scope.__exit__(None, None, None)
        crew._release(handle)
    finally:
        del crew, handle, scope  # a traceback may refer to this frame


async def _work_async(
    crew: Crew,
    handle: Handle[Any],
    scope: Scope,
    fn: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    loop: Loop,
    primed: bool,
) -> None:
    """A piece in a task."""
    try:
        if primed:
            await _ready()
        if crew._timeout is not None:
            _limit(scope, crew._timeout)
        _enter(crew, scope, loop)
        if kwargs:
            handle._value = await fn(scope, *args, **kwargs)
        else:  # passing on what is empty costs, too
            handle._value = await fn(scope, *args)
    except BaseException as exc:
        if handle._state == GIVEN_UP or _fail(crew, handle, scope, exc):
            raise
    else:
        scope.__exit__(None, None, None)
        crew._release(handle)
    finally:
        del crew, handle, scope


@coroutine
def _ready() -> Generator[None, None, None]:
    yield


def _limit(scope: Scope, timeout: float) -> None:
    """The time of a piece begins now."""
    now = _clock.now()
    if now + timeout <= scope._deadline:
        scope._deadline, scope._span, scope._cause = now + timeout, timeout, None


def _enter(crew: Crew, scope: Scope, loop: Loop) -> None:
    """Open the block of a piece in its task, which has no other block.

    As `Scope.__enter__`, but also where the context is over: then it is interrupted.
    """
    task = task_of(loop)
    state = _states.get(id(loop))
    stack = None if state is None else state.stacks.get(id(task))
    if stack is None or task.__class__ is not asyncio.Task:
        stack = current_stack()
    elif task is not None:
        stack.start(loop, task)
    scope._state = ENTERED
    if stack is not None:
        scope._base = 0
        stack.blocks.append(scope)
        if GIL:
            scope._tether_stack = stack
        else:  # as in 7 of `_tree`: whoever ends the crew sees the stack, or we the end
            with lock:
                scope._tether_stack = stack
        ended = crew._scope._end is not None  # what comes later, the crew passes on
        if scope._deadline != INF:
            stack.timers.add(scope)
            ended = scope._ended() is not None
        if ended:
            stack._fire()
    _current.set(scope)
    scope._token = NO_TOKEN  # never set back: the variables go with the task


def _fail(crew: Crew, handle: Handle[Any], scope: Scope, exc: BaseException) -> bool:
    """A piece ends with an exception; whether its task must know of it."""
    trace = exc.__traceback__
    trace = None if trace is None else trace.tb_next
    error = exc.with_traceback(trace)
    interrupted = False
    if scope._state == NEW:
        scope.cancel()  # its task was canceled before it could begin
    else:
        try:
            scope.__exit__(type(exc), exc, trace)
        except BaseException as given:
            error = given.with_traceback(trace)
            interrupted = True
    foreign = not interrupted and isinstance(
        exc, asyncio.CancelledError | GeneratorExit
    )
    if foreign:
        went = isinstance(exc, GeneratorExit)
        text = LOOP_WENT if went else CANCELED_ELSEWHERE
        error = Canceled(text.format(name=handle.name))
        error.__cause__ = exc
    crew._settle(handle, error, interrupted=interrupted)
    crew._release(handle)
    return foreign or isinstance(error, KeyboardInterrupt | SystemExit)


def whose_end(ctx: object, scope: Scope) -> int:
    """Whose end an error with this `ctx` tells of, seen from a crew's scope."""
    end = scope._ended()
    if end is None or not isinstance(ctx, Context):
        return ANOTHER
    theirs = ctx._tether_end_of()
    if theirs is not end and (
        theirs is None or end.source is None or theirs.source is not end.source
    ):
        return ANOTHER
    up = scope._up
    if end.source is None and (up is None or up._ended() is not end):
        return OURS
    return ABOVE


# -- functions -------------------------------------------------------------------


def is_async(fn: Work) -> bool:
    """Whether `fn` is a coroutine function; `TypeError` if it is no function."""
    if not callable(fn):
        shown = repr(fn)
        if isinstance(fn, CoroutineType):
            fn.close()
        raise TypeError(GO_TAKES_A_FUNCTION.format(value=shown))
    return iscoroutinefunction(fn) or iscoroutinefunction(type(fn).__call__)


def name_of(fn: Work) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__qualname__
