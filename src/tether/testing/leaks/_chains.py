"""The whole chain of awaits that a task is in, from its function to what it waits for.

`Task.get_stack()` gives one frame of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Any

from ..._where import awaited, name_of

_LINKS = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)


# Functions that drive a coroutine by hand: the name of the variable that holds it.
transparent: dict[CodeType, str] = {}


def frames(coro: object) -> Iterator[FrameType]:
    """The frames of a suspended coroutine or generator, the outermost first."""
    inner: Any = coro
    while inner is not None:
        for kind, below in _LINKS:
            frame = getattr(inner, kind, None)
            if frame is not None and frame.f_code in transparent:
                inner = frame.f_locals[transparent[frame.f_code]]
                break
            if frame is not None:
                yield frame
            if frame is not None:
                inner = awaited(inner, below)
                break
        else:
            return


def lines(coro: object) -> list[str]:
    """The chain in words, the outermost first."""
    return [
        f"{place(frame)} in {frame.f_code.co_qualname}"
        for frame in frames(coro)
        if not frame.f_code.co_filename.startswith(_OURS)
    ]


def functions(coro: object) -> frozenset[str]:
    """The names of the functions it is in."""
    names = [frame.f_code.co_qualname for frame in frames(coro)]
    return frozenset([*names, *(name.rpartition(".")[2] for name in names)])


def waits_for(task: asyncio.Task[Any]) -> str:
    """What the task waits for, as far as it can be seen; "" if it does not wait."""
    future = getattr(task, "_fut_waiter", None)
    if future is None:
        return ""
    if isinstance(future, asyncio.Task):
        return f"task {future.get_name()}: {name_of(future.get_coro())}"
    return type(future).__name__


def place(frame: FrameType) -> str:
    """The line that a frame is at."""
    path = PurePath(frame.f_code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno}"


# What is around somebody's code to test it.
_OURS = str(Path(__file__).parents[1])
