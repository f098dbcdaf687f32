"""The chain of awaits of a task, read from outside while the task is suspended.

Function chains first (`codes`): they make no frame objects, and 41,000 of them cost a
tenth of a second. Frames, and so lines, are asked of few (`frames`).

Another thread may read them while the task goes on: what it gets may be cut short, and
is never of another task.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from types import CodeType, FrameType
from typing import Any

Task = asyncio.Task[Any]

# Of coroutines, generators that serve as such, and asynchronous generators.
_KINDS = (
    ("cr_code", "cr_frame", "cr_await"),
    ("gi_code", "gi_frame", "gi_yieldfrom"),
    ("ag_code", "ag_frame", "ag_await"),
)
_HIDES = {
    *("async_generator_asend", "async_generator_athrow", "anext_awaitable"),
    *("coroutine_wrapper",),
}
DEEPEST = 200  # more are cut off


def codes(task: Task) -> tuple[CodeType, ...]:
    """The functions from the outermost to the innermost."""
    found: list[CodeType] = []
    inner: Any = task.get_coro()
    try:
        while len(found) < DEEPEST:  # nearly all are coroutines
            found.append(inner.cr_code)
            inner = inner.cr_await
    except AttributeError:
        rest = _links(inner, DEEPEST - len(found))
        found += [getattr(one, _kind(one)[0]) for one in rest]
    return tuple(found)


def links(task: Task) -> list[Any]:
    """The coroutines and generators from the outermost to the innermost."""
    return _links(task.get_coro(), DEEPEST)


def frames(task: Task) -> list[FrameType]:
    """The frames from the outermost to the innermost."""
    every = (getattr(one, _kind(one)[1]) for one in links(task))
    return [frame for frame in every if frame is not None]


def innermost(task: Task) -> Any:
    """What the innermost coroutine awaits, if that is a task or a future; or None."""
    return getattr(task, "_fut_waiter", None)


def blocks(one: Any) -> list[object]:
    """The context managers whose blocks a suspended coroutine is inside of.

    The interpreter keeps their exits on the coroutine's stack, where the garbage
    collector sees them: nobody need record who holds a lock.
    """
    referents = gc.get_referents(one)
    if sys.version_info >= (3, 14):
        # There the function and its object lie side by side.
        exits = {
            id(code)
            for code in referents
            if getattr(code, "__name__", "") in {"__aexit__", "__exit__"}
        }
        if not exits:
            return []
        return [
            other
            for other in referents
            if hasattr(type(other), "__aexit__") or hasattr(type(other), "__exit__")
        ]
    return [
        other.__self__
        for other in referents
        if getattr(other, "__name__", "") in {"__aexit__", "__exit__"}
        and hasattr(other, "__self__")
    ]


def _links(inner: Any, limit: int) -> list[Any]:
    found: list[Any] = []
    while inner is not None and len(found) < limit:
        kind = _kind(inner)
        if not kind:
            # What `anext()`, `asend()` and `__await__()` give hides what it drives.
            if type(inner).__name__ not in _HIDES:
                break
            inner = next(filter(_drives, gc.get_referents(inner)), None)
            continue
        found.append(inner)
        inner = getattr(inner, kind[2])
    return found


def _kind(one: object) -> tuple[str, ...]:
    for kind in _KINDS:
        if hasattr(one, kind[0]):
            return kind
    return ()


def _drives(one: object) -> bool:
    return bool(_kind(one)) or type(one).__name__ in _HIDES
