"""Who is still at work, and where: the names of tasks, threads and functions.

For reports that a person reads. Everything here may be asked from another thread than
the one it is about, so it may be out of date by the time it is read.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache, partial
from inspect import CO_COROUTINE
from pathlib import PurePath
from threading import Thread
from types import FrameType
from typing import Any

from ._awaits import coro_of, links, part
from ._describe import place as line_of
from ._loops import Task


def name_of(fn: object) -> str:
    """What a person would call this function."""
    while isinstance(fn, partial):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    return f"{name.removeprefix('<locals>.').split('.<locals>.')[-1]}()"


def place(frame: FrameType | None) -> str:
    """The line a frame is at; "" if there is none."""
    if frame is None:
        return ""
    code = frame.f_code
    return f", at {line_of(code, frame.f_lasti)} in {code.co_name}"


def task(one: Task) -> str:
    """The name of a task, what it runs, and the await it is in.

    That of the program's own code, if there is some: that it waits in a library's lock
    or socket is less of a help.
    """
    outermost: Any = None  # that is not what we have wrapped around it
    at: FrameType | None = None
    own: FrameType | None = None
    for link in links(coro_of(one)):
        frame = part(link, "frame")
        if frame is None:
            continue
        if outermost is None and not _is_ours(frame):
            outermost = link
        at = frame
        if not is_of_a_library(frame):
            own = frame
    name = runs(one) if outermost is None else name_of(outermost)
    return f"task {one.get_name()}: {name}{place(own or at)}"


def runs(one: Task) -> str:
    """The name of what a task runs."""
    coro = coro_of(one)
    return "it has ended" if coro is None else name_of(coro)


def running(one: Task, where: Thread) -> str:
    """The same of a task that runs at this moment, or blocks the loop in that thread.

    A coroutine does not tell what it awaits while it runs; its thread does.
    """
    frame = sys._current_frames().get(where.ident or 0)
    at = place(frame)
    name = ""
    while frame is not None:
        if frame.f_code.co_flags & CO_COROUTINE and not _is_ours(frame):
            name = frame.f_code.co_qualname
        frame = frame.f_back
    return f"task {one.get_name()}: {f'{name}()' if name else runs(one)}{at}"


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("tether.")


def is_of_a_library(frame: FrameType) -> bool:
    """Whether it is not the program's own code."""
    return is_installed(frame.f_code.co_filename) or _is_ours(frame)


@lru_cache(4096)
def is_installed(file: str) -> bool:
    """Whether it belongs to Python or to a library."""
    path = PurePath(file)
    return path.is_relative_to(_STANDARD) or not _INSTALLED.isdisjoint(path.parts)


_STANDARD = PurePath(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


def thread(one: Thread, does: str = "") -> str:
    """The name of a thread, what it runs if that is known, and where it is."""
    frame = sys._current_frames().get(one.ident or 0)
    what = f": {does}" if does else ""
    return f"thread {one.name}{what}{place(frame)}"
