"""The chains of awaits of tasks, read from another thread than theirs.

Function chains first (`codes`): they make no frame objects, and 41,000 of them cost a
tenth of a second. Frames, and so lines, are asked of few (`frames`). What may be asked
of a task that goes on meanwhile, `_awaits` says; where there is no global interpreter
lock, the outermost function is all.
"""

from __future__ import annotations

import asyncio
from types import CodeType, CoroutineType, FrameType
from typing import Any

from .. import _awaits
from .._awaits import DEEPEST
from .._tree import GIL

Task = asyncio.Task[Any]


def codes(task: Task) -> list[CodeType]:
    """The functions from the outermost to the innermost."""
    found: list[CodeType] = []
    inner: Any = _awaits.coro_of(task)
    for _ in range(DEEPEST):
        if inner.__class__ is not CoroutineType:  # nearly all are one to their end
            break
        found.append(inner.cr_code)
        inner = inner.cr_await if inner.cr_suspended and GIL else None
    if inner is not None and inner.__class__.__name__ != "FutureIter":
        rest = _awaits.links(inner, DEEPEST - len(found))
        found += [_awaits.part(one, "code") for one in rest]
    return found


def links(task: Task) -> list[Any]:
    """The coroutines and generators from the outermost to the innermost."""
    return _awaits.links(_awaits.coro_of(task)) if GIL else []


def frames(task: Task) -> list[FrameType]:
    """The frames from the outermost to the innermost."""
    return _awaits.frames(_awaits.coro_of(task)) if GIL else []


def innermost(task: Task) -> Any:
    """What the innermost coroutine awaits, if that is a task or a future; or None."""
    return getattr(task, "_fut_waiter", None)
