"""Who is still at work, and where: the names of tasks, threads and functions.

For reports that a person reads. Everything here may be asked from another thread than
the one it is about, so it may be out of date by the time it is read.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from inspect import CO_COROUTINE
from pathlib import PurePath
from threading import Thread
from types import FrameType
from typing import Any

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
    path = "/".join(PurePath(code.co_filename).parts[-2:])
    return f", at {path}:{frame.f_lineno} in {code.co_name}"


def task(one: Task) -> str:
    """The name of a task, what it runs, and the await it is in.

    That of the program's own code, if there is some: that it waits in a library's lock
    or socket is less of a help.
    """
    coro: Any = one.get_coro()
    runs: Any = None  # the outermost that is not what we have wrapped around it
    at: FrameType | None = None
    own: FrameType | None = None
    inner = coro
    while inner is not None:
        for kind, below in _LINKS:
            frame = getattr(inner, kind, None)
            if frame is not None:
                if runs is None and not _is_ours(frame):
                    runs = inner
                at = frame
                if not _is_of_a_library(frame):
                    own = frame
                inner = awaited(inner, below)
                break
        else:
            break
    coro = coro if runs is None else runs
    return f"task {one.get_name()}: {name_of(coro)}{place(own or at)}"


def awaited(one: Any, below: str) -> Any:
    """What a suspended coroutine or generator awaits; None of one that runs.

    Of one that runs, in another thread perhaps, CPython 3.11 and 3.12 read what is not
    there, and crash. There is no point between the question and its use at which
    another thread could have its turn.
    """
    if below == "cr_await":
        return one.cr_await if one.cr_suspended else None
    if below == "gi_yieldfrom":
        return one.gi_yieldfrom if one.gi_suspended else None
    # A generator that awaits counts as running; before 3.12 nothing else is told.
    return one.ag_await if getattr(one, "ag_suspended", False) else None


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
    return (
        f"task {one.get_name()}: {f'{name}()' if name else name_of(one.get_coro())}{at}"
    )


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("tether.")


def _is_of_a_library(frame: FrameType) -> bool:
    return is_installed(frame.f_code.co_filename) or _is_ours(frame)


def is_installed(file: str) -> bool:
    """Whether it belongs to Python or to a library."""
    path = PurePath(file)
    return path.is_relative_to(_STANDARD) or not _INSTALLED.isdisjoint(path.parts)


_STANDARD = PurePath(os.__file__).parent
_INSTALLED = {"site-packages", "dist-packages"}


# Of coroutines, generators that serve as such, and asynchronous generators.
_LINKS = (
    ("cr_frame", "cr_await"),
    ("gi_frame", "gi_yieldfrom"),
    ("ag_frame", "ag_await"),
)


def thread(one: Thread, does: str = "") -> str:
    """The name of a thread, what it runs if that is known, and where it is."""
    frame = sys._current_frames().get(one.ident or 0)
    what = f": {does}" if does else ""
    return f"thread {one.name}{what}{place(frame)}"
