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
from ._loops import Loop, no_variables
from ._scope import Scope
from ._tree import ENTERED, GIL, NEW, lock

if TYPE_CHECKING:
    from ._crew import Crew

Work = Callable[..., Any]
# The crew, the handle, the scope, the function and its arguments.
Piece = tuple["Crew", Handle[Any], Scope, Work, tuple[Any, ...], dict[str, Any]]

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


def start_in_loop(loop: Loop, variables: Variables, piece: Piece) -> None:
    """Start a task in its loop; from any thread. `RuntimeError` if that is closed."""
    coro = _work_async(*piece, True)
    coro.send(None)  # into its try
    start = partial(_start, loop, piece, coro, variables)
    try:
        loop.call_soon_threadsafe(start, context=no_variables())
    except RuntimeError:
        piece[1]._state = GIVEN_UP
        coro.close()
        raise


def start_task(loop: Loop, piece: Piece) -> None:
    """Start a task in the running loop, at once where that is possible."""
    key = id(loop)
    depth = _depth.get(key, 0)
    if depth >= DEEPEST:
        start_in_loop(loop, copy_context(), piece)
        return
    _depth[key] = depth + 1
    try:
        if EAGER and loop.get_task_factory() is None:
            coro = _work_async(*piece, False)  # nothing can come before it
            _watch(
                piece,
                asyncio.Task(  # type: ignore[call-arg,unused-ignore]
                    coro, loop=loop, name=piece[1].name, eager_start=True
                ),
            )
        else:
            coro = _work_async(*piece, True)
            coro.send(None)
            _start(loop, piece, coro, None)
    finally:
        if depth:
            _depth[key] = depth
        else:
            del _depth[key]
        del piece  # a traceback may refer to this frame


def _start(
    loop: Loop,
    piece: Piece,
    coro: Coroutine[Any, None, None],
    variables: Variables | None,
) -> None:
    """Make the task of a coroutine that is in its `try`."""
    name = piece[1].name
    try:
        if loop.get_task_factory() is None:
            task = asyncio.Task(coro, loop=loop, name=name, context=variables)
        else:
            task = loop.create_task(coro, name=name, context=variables)
    except Exception as exc:  # of a factory, or of a loop that is closing
        with suppress(StopIteration):
            coro.throw(exc)  # it is the piece that fails
    else:
        _watch(piece, task)
    finally:
        del piece


def _watch(piece: Piece, task: asyncio.Task[None]) -> None:
    """A task is to run, unless it already has: keep it, and tell it of the end."""
    crew, handle, *_ = piece
    if handle._state < DONE:
        handle._task = task
        if not crew._hooked:
            crew._watch()


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
        enter(scope, crew._timeout)
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
    primed: bool,
) -> None:
    """A piece in a task."""
    try:
        if primed:
            await _ready()
        enter(scope, crew._timeout)
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


def enter(scope: Scope, timeout: float | None) -> None:
    """Open the block of a piece, also where it is over: then it is interrupted.

    Otherwise as `Scope.__enter__` in a task without other blocks.
    """
    if timeout is not None:
        now = _clock.now()
        if now + timeout <= scope._deadline:
            scope._deadline, scope._span, scope._cause = now + timeout, timeout, None
    stack = current_stack()
    if stack is not None:
        scope._base = 0
        stack.blocks.append(scope)
        if GIL:
            scope._tether_stack = stack
        else:  # as in 7 of `_tree`: whoever ends the crew sees the stack, or we the end
            with lock:
                scope._tether_stack = stack
        if scope._deadline != INF:
            stack.timers.add(scope)
        if scope._ended() is not None:
            stack._fire()
    scope._state = ENTERED
    scope._token = _current.set(scope)


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
