"""The chain of awaits that a coroutine is in: from its function to what it waits for.

`Task.get_stack()` gives one frame of it. Another thread may ask while the task goes on.
What a coroutine awaits is asked of a suspended one only, as what one that runs has on
its stack is not settled. It is asked in the same expression as whether it is suspended:
there is no call and no backward jump in between, so no other thread has its turn.
Without a global interpreter lock that does not help: there only the thread of a loop
may ask about its tasks.
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

_HIDES = {
    *("async_generator_asend", "async_generator_athrow", "anext_awaitable"),
    *("coroutine_wrapper",),
}
DEEPEST = 200  # more are cut off

# There `get_coro()` of a task that has ended in its eager start is a crash of the
# interpreter: python/cpython#122332.
_CRASHES = (3, 12) <= sys.version_info < (3, 12, 5)

# Functions that drive a coroutine by hand: the name of the variable that holds it. They
# are left out, as if the coroutine were awaited.
transparent: dict[CodeType, str] = {}


def coro_of(task: asyncio.Task[Any]) -> Any:
    """What the task runs; None of one that has ended eagerly.

    On Python 3.12.0 to 3.12.4 None of each that has ended, or is in its eager start:
    which of them can be asked without a crash cannot be told.
    """
    tasks: Any = asyncio.tasks
    if _CRASHES and (task.done() or task in tasks._eager_tasks):
        return None
    return task.get_coro()


def links(coro: object, limit: int = DEEPEST) -> list[Any]:
    """The coroutines and generators, the outermost first."""
    found: list[Any] = []
    inner: Any = coro
    while inner is not None and len(found) < limit:
        if _prefix(inner):
            frame = part(inner, "frame")
            held = None if frame is None else transparent.get(frame.f_code)
            if held is not None:
                inner = frame.f_locals.get(held)
                continue
            found.append(inner)
            inner = _awaited(inner)
        elif type(inner).__name__ in _HIDES:
            # What `anext()`, `asend()` and `__await__()` give hides what it drives.
            inner = next(filter(_drives, gc.get_referents(inner)), None)
        else:
            break
    return found


def frames(coro: object) -> list[FrameType]:
    """Their frames, the outermost first."""
    every = (part(one, "frame") for one in links(coro))
    return [frame for frame in every if frame is not None]


def part(one: object, name: str) -> Any:
    """Its `code` or `frame`; None if it has none, or has ended."""
    return getattr(one, f"{_prefix(one)}_{name}", None)


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


def _drives(one: object) -> bool:
    return bool(_prefix(one)) or type(one).__name__ in _HIDES
