"""Chains of awaits in the words of a report."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import FrameType
from typing import Any

from ..._awaits import frames
from ..._describe import place
from ..._where import runs


def lines(coro: object) -> list[str]:
    """The chain in words, the outermost first."""
    return [
        line(frame)
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
        return f"task {future.get_name()}: {runs(future)}"
    return type(future).__name__


def line(frame: FrameType) -> str:
    """The line that a frame is at, and its function."""
    code = frame.f_code
    return f"{place(code, frame.f_lasti)} in {code.co_qualname}"


# What is around somebody's code to test it.
_OURS = str(Path(__file__).parents[1])
