"""Which context a task works for, and what that says: its label, its age, its time."""

from __future__ import annotations

import sys
from contextvars import Context as Variables
from functools import partial
from types import BuiltinMethodType, FrameType
from typing import Any, NamedTuple

from .. import _clock
from .._clock import INF
from .._context import Context
from .._current import Pending, var
from .._describe import LABEL
from .._overdue import is_open
from .._scope import Scope
from .._tasks import context_of
from .._tree import NO_DEADLINE, Node
from ._chain import Task

NOBODY = "no context"
UNNAMED = "no label"
# What has no label belongs to no request: which root it is of says so.
_ROOTS = {"context.Background": "background()", "context.TODO": "todo()"}
# From here on outwards, what a thread has in its variables is about all contexts.
_ABOUT_ALL = (
    *("asyncio.runners", "asyncio.base_events"),
    *("tether._timers", "tether.debug"),
)
_HAND_OVER = {"anyio", "concurrent", "tether"}  # whose threads work for a context
_NAMES = ("ctx", "context", "scope", "budget")  # parts of those of variables


class Root(NamedTuple):
    """What the context of a task says."""

    label: str
    age: float | None  # seconds, of the outermost scope
    remaining: float | None  # seconds, negative: since then it is over; None: no limit
    ctx: Context | None


_NONE = Root(NOBODY, None, None, None)


def of_task(task: Task) -> Root:
    """Of the context that is current in a task."""
    ctx = context_of(task)
    return _NONE if ctx is None else of_context(ctx)


def of_thread(frame: FrameType | None) -> Context | None:
    """The context that a thread works for; from its innermost frame.

    What is current in a thread no other one is told. But it is handed from function to
    function, or with the variables into the thread of a pool: the innermost is it.
    """
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_ABOUT_ALL):
            return None
        for value in [*frame.f_locals.values()] if _may_have_one(frame) else []:
            ctx = _handed(value)
            if ctx is not None:
                return ctx
        frame = frame.f_back
    return None


def _may_have_one(frame: FrameType) -> bool:
    """Whether to read the variables of a function.

    Until Python 3.13 that leaves a copy with it, which keeps alive what it lets go of:
    there, only where the names of variables promise a context.
    """
    if sys.version_info >= (3, 13):
        return True
    home = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    code = frame.f_code
    names = code.co_varnames + code.co_cellvars + code.co_freevars
    return home in _HAND_OVER or any(part in name for name in names for part in _NAMES)


def _handed(value: Any) -> Context | None:
    """The context that a value is or brings, if somebody is inside of it."""
    if type(value).__module__ == "concurrent.futures.thread":
        value = getattr(value, "fn", None)  # as of asyncio.to_thread()
    if type(value) is partial:
        value = value.func
    if type(value) is BuiltinMethodType:
        value = value.__self__  # the `run` of variables
    if type(value) is Variables:
        value = value.get(var)
        if isinstance(value, Pending):
            value = value._tether_context()
    node = value
    while issubclass(type(node), Node):
        if type(node) is Scope:
            return value if is_open(node) else None
        node = getattr(node, "_parent", None)  # none yet, if it is just being made
    return None


def of_context(ctx: Context) -> Root:
    """Of a context."""
    top: Scope | None = None
    node: Any = ctx
    while isinstance(node, Node):
        if node.__class__ is Scope:
            top = node
        node = node._parent
    now = _clock.now()
    deadline = ctx._deadline if isinstance(ctx, Node) else ctx.deadline
    return Root(
        name(ctx),
        None if top is None else now - made(top),
        None if deadline is None or deadline == INF else deadline - now,
        ctx,
    )


def name(ctx: Context) -> str:
    """Its label, or the root it is derived from."""
    label = ctx.value(LABEL)
    if label:
        return label
    node: Any = ctx
    while isinstance(node, Node) and node._parent is not None:
        node = node._parent
    return _ROOTS.get(getattr(node, "_name", ""), UNNAMED)


def made(scope: Node) -> float:
    """The instant a scope was made."""
    if scope._cause is NO_DEADLINE:
        return scope._span
    return scope._deadline - scope._span
