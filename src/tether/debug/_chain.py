"""The chain of awaits of a task, read from outside while the task is suspended.

Function chains first (`codes`): they make no frame objects, and 41,000 of them cost a
tenth of a second. Frames, and so lines, are asked of few (`frames`).

Another thread reads them while the task may go on. What a coroutine awaits may be asked
of a suspended one only: of one that runs, CPython 3.11 and 3.12 read what is not there,
and crash. So it is asked in the same expression as whether it is suspended: there is no
call and no backward jump in between, so no other thread has its turn. Where there is no
global interpreter lock that does not help: there the outermost function is all.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from types import (
    AsyncGeneratorType,
    CodeType,
    CoroutineType,
    FrameType,
    GeneratorType,
)
from typing import Any

from .._tree import GIL

Task = asyncio.Task[Any]

_HIDES = {
    *("async_generator_asend", "async_generator_athrow", "anext_awaitable"),
    *("coroutine_wrapper",),
}
DEEPEST = 200  # more are cut off


def codes(task: Task) -> tuple[CodeType, ...]:
    """The functions from the outermost to the innermost."""
    found: list[CodeType] = []
    inner: Any = task.get_coro()
    while inner.__class__ is CoroutineType and len(found) < DEEPEST:  # nearly all are
        found.append(inner.cr_code)
        inner = inner.cr_await if inner.cr_suspended and GIL else None
    found += [_part(one, "code") for one in _links(inner, DEEPEST - len(found))]
    return tuple(found)


def links(task: Task) -> list[Any]:
    """The coroutines and generators from the outermost to the innermost."""
    return _links(task.get_coro(), DEEPEST) if GIL else []


def frames(task: Task) -> list[FrameType]:
    """The frames from the outermost to the innermost."""
    every = (_part(one, "frame") for one in links(task))
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
        if _prefix(inner):
            found.append(inner)
            inner = _awaited(inner)
        elif type(inner).__name__ in _HIDES:
            # What `anext()`, `asend()` and `__await__()` give hides what it drives.
            inner = next(filter(_drives, gc.get_referents(inner)), None)
        else:
            break
    return found


def _awaited(one: Any) -> Any:
    """What a suspended one awaits; None if it runs. In one expression: see above."""
    kind = type(one)
    if kind is CoroutineType:
        return one.cr_await if one.cr_suspended else None
    if kind is GeneratorType:
        return one.gi_yieldfrom if one.gi_suspended else None
    if kind is AsyncGeneratorType:
        frame = one.ag_frame
        if frame is None:
            return None
        # 3.11 has no ag_suspended. What runs has somebody who called it.
        return one.ag_await if frame.f_back is None else None
    # Of a compiled module, which keeps this in a field.
    return getattr(one, "cr_await", None)


def _prefix(one: object) -> str:
    """How the names of its parts begin; "" if it is nothing of the kind."""
    for prefix in ("cr", "gi", "ag"):
        if hasattr(one, f"{prefix}_code"):
            return prefix
    return ""


def _part(one: object, name: str) -> Any:
    return getattr(one, f"{_prefix(one)}_{name}", None)


def _drives(one: object) -> bool:
    return bool(_prefix(one)) or type(one).__name__ in _HIDES
