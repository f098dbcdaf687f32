"""One piece of work, from its start in a task or a thread to its end.

It runs in a scope of its own below its crew's, entered where it runs. These scopes are
not hooked into the tree: the crew is, once for all of its tasks, and passes the end on
(hooking each costs half as much again as the rest). Their deadlines are timers of their
own.

What is to be done at the end is done by the thread or coroutine that does the work. A
coroutine is brought into its `try` before a task gets it (`prime`), so a task that is
canceled before its first step, or collected with its loop, ends its piece too.

The traceback of what a piece fails with begins in the user's function. So no exception
leads to the handle that keeps it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context as Variables
from functools import partial
from inspect import iscoroutinefunction
from types import CoroutineType, TracebackType, coroutine
from typing import TYPE_CHECKING, Any, cast

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
from ._interrupt import anyio_tasks, current_stack
from ._keys import Value
from ._loops import EMPTY, Loop
from ._scope import Scope
from ._tree import ENTERED, GIL, lock

if TYPE_CHECKING:
    from ._crew import Crew

Work = Callable[..., object]
# The crew, the handle, the function, its arguments, the values of the context.
Piece = tuple["Crew", Handle[Any], Work, tuple[Any, ...], dict[str, Any], Value | None]

EAGER = sys.version_info >= (3, 12)
# A task that is started eagerly runs in the frame of who started it. Tasks that start
# tasks would nest without end, so further down they start as tasks do otherwise.
DEEPEST = 16


class _Depth(threading.local):
    now = 0


_depth = _Depth()

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
    crew, handle, *_ = piece
    coro = prime(piece)
    start = partial(start_task, crew, handle, coro, loop, variables)
    try:
        loop.call_soon_threadsafe(start, context=EMPTY)
    except RuntimeError:
        handle._state = GIVEN_UP
        coro.close()
        raise


def prime(piece: Piece) -> Coroutine[Any, None, None]:
    """The coroutine of a piece, suspended inside its `try`."""
    coro = _work_async(*piece)
    coro.send(None)
    return coro


def start_task(
    crew: Crew,
    handle: Handle[Any],
    coro: Coroutine[Any, None, None],
    loop: Loop,
    variables: Variables | None,
) -> None:
    """Start a task in the running loop, at once where that is possible."""
    name = handle.name
    task: asyncio.Task[None]
    try:
        if loop.get_task_factory() is not None:
            task = loop.create_task(coro, name=name, context=variables)
        elif EAGER and (depth := _depth.now) < DEEPEST:
            _depth.now = depth + 1
            try:
                task = asyncio.Task(  # type: ignore[call-arg,unused-ignore]
                    coro, loop=loop, name=name, context=variables, eager_start=True
                )
            finally:
                _depth.now = depth
        else:
            task = asyncio.Task(coro, loop=loop, name=name, context=variables)
    except Exception as exc:  # of a factory, or of a loop that is closing
        try:
            coro.throw(exc)
        except StopIteration:
            return
    if handle._state < DONE:
        handle._task = task
        if not crew._hooked:
            crew._watch()


# -- working ---------------------------------------------------------------------


def _work(
    crew: Crew,
    handle: Handle[Any],
    fn: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    values: Value | None,
) -> None:
    """A piece in a thread."""
    scope: Scope | None = None
    try:
        scope = _open(crew, handle, values)
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


async def _work_async(
    crew: Crew,
    handle: Handle[Any],
    fn: Work,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    values: Value | None,
) -> None:
    """A piece in a task."""
    scope: Scope | None = None
    try:
        await _primed()
        scope = _open(crew, handle, values)
        handle._value = await cast(Any, fn)(scope, *args, **kwargs)
    except BaseException as exc:
        if handle._state == GIVEN_UP or _fail(crew, handle, scope, exc):
            raise
    else:
        scope.__exit__(None, None, None)
        crew._release(handle)


@coroutine
def _primed() -> Generator[None, None, None]:
    yield


def _open(crew: Crew, handle: Handle[Any], values: Value | None) -> Scope:
    """The context of a piece, entered: also where it is over, as in Go."""
    if crew._timeout is None:
        scope = crew._scope.with_cancel()
    else:
        scope = crew._scope.with_timeout(crew._timeout)
    scope._code = handle._code
    scope._lasti = handle._lasti
    if values is not None:
        scope._values = values
    handle._scope = scope
    enter(scope)
    return scope


def enter(scope: Scope, *, owner: bool = False) -> None:
    """Open the block of a scope, even where it is over: it is interrupted then.

    Otherwise as `Scope.__enter__`. That of an `owner` may stand inside other blocks.
    """
    scope._state = ENTERED
    stack = current_stack()
    if stack is not None:
        scope._base = stack.task.cancelling()
        stack.blocks.append(scope)
        if GIL:
            scope._tether_stack = stack
        else:  # as in 7 of `_tree`: whoever ends the crew sees the stack, or we the end
            with lock:
                scope._tether_stack = stack
        if owner:
            stack.cover(scope)
            if anyio_tasks():
                stack.note_anyio(scope)
        if scope._deadline != INF:
            stack.timers.add(scope)
        if scope._ended() is not None:
            stack._fire()
    scope._token = _current.set(scope)


def _fail(
    crew: Crew, handle: Handle[Any], scope: Scope | None, exc: BaseException
) -> bool:
    """A piece ends with an exception; whether its task must know of it."""
    error, interrupted = _leave(scope, exc)
    foreign = not interrupted and isinstance(
        exc, asyncio.CancelledError | GeneratorExit
    )
    if foreign:
        went = isinstance(exc, GeneratorExit)
        text = LOOP_WENT if went else CANCELED_ELSEWHERE
        error = Canceled(text.format(name=handle.name))
        error.__cause__ = exc
    crew._settle(handle, error, scope, interrupted=interrupted)
    crew._release(handle)
    return foreign or isinstance(error, KeyboardInterrupt | SystemExit)


def _leave(scope: Scope | None, exc: BaseException) -> tuple[BaseException, bool]:
    """What `exc` is outside of the scope, and whether the scope was interrupted."""
    trace: TracebackType | None = exc.__traceback__
    trace = None if trace is None else trace.tb_next
    exc.__traceback__ = trace
    if scope is not None:
        try:
            scope.__exit__(type(exc), exc, trace)
        except BaseException as given:
            return given.with_traceback(trace), True
    return exc, False


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
