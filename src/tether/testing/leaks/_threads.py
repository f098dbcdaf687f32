"""Threads: of one's own, of executors, of `threading.Timer`, abandoned ones."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import thread as executors
from functools import partial
from types import FrameType
from typing import Any, final
from weakref import WeakKeyDictionary

from ... import _pool
from ... import _threads as _ours
from ..._where import name_of
from . import _chains, _sites
from ._found import Found
from ._leak import Leak
from ._owner import owner
from ._tasks import Tasks

# Those of the test runner itself.
RUNNERS = ("pytest_timeout", "pydevd", "execnet")


@final
class Threads:
    """The threads that `threading` knows and that have not ended, but the main one."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._made: WeakKeyDictionary[threading.Thread, tuple[object, _sites.Site]]
        self._made = WeakKeyDictionary()
        self._start: Callable[[threading.Thread], None] = threading.Thread.start

    def start(self) -> None:
        start = self._start = threading.Thread.start

        def noting(thread: threading.Thread) -> None:
            self._made[thread] = owner.get(), _sites.here(sys._getframe(1))
            start(thread)

        threading.Thread.start = noting  # type: ignore[method-assign, assignment]

    def stop(self) -> None:
        threading.Thread.start = self._start  # type: ignore[method-assign, assignment]
        self._made.clear()

    def now(self) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        main = threading.main_thread()
        threads = threading.enumerate()
        if threads == [main]:  # as it is nearly always
            return found
        idle = {*_ours.idle(), *_pool.idle(), *_pool.busy()}
        kept = self._of_loops()
        for thread in threads:
            if thread is main:
                continue
            if thread.ident in idle or thread.name.startswith(RUNNERS):
                continue
            if isinstance(thread, _NOT_STARTED):
                continue
            if thread in kept and is_idle_worker(thread):
                continue
            if _is_idle_of_anyio(thread):
                continue
            whose, site = self._made.get(thread, (None, None))
            key = "thread", id(thread), thread.ident
            found[key] = Found(whose, partial(_told, thread, site))
        return found

    def _of_loops(self) -> set[threading.Thread]:
        """Those of the default executors of open loops: these end with their loop."""
        executors = [
            getattr(loop, "_default_executor", None)
            for loop in self._tasks.open_loops()
        ]
        return {
            one for executor in executors for one in getattr(executor, "_threads", ())
        }


def is_idle_worker(thread: threading.Thread) -> bool:
    """Whether it belongs to an executor and has nothing to do."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is _WORKER


def _is_idle_of_anyio(thread: Any) -> bool:
    """Whether it is a worker of anyio's without work, which ends with a task there."""
    kind = type(thread)
    if kind.__module__ != "anyio._backends._asyncio":
        return False
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_globals.get("__name__") in _WAITS:
        frame = frame.f_back
    idle = frame is not None and frame.f_code is kind.run.__code__
    return idle and not (thread.root_task.done() or thread.loop.is_closed())


def _told(thread: threading.Thread, site: _sites.Site) -> Leak:
    frame = sys._current_frames().get(thread.ident or 0)
    stack: list[FrameType] = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    target: Any = getattr(thread, "_target", None)
    details = [
        f"at {_chains.line(one)}"
        for one in stack
        if one.f_globals.get("__name__") != "threading"
    ]
    details += _sites.words("made at", site)
    names = [one.f_code.co_qualname for one in stack]
    functions = frozenset([*names, *(name.rpartition(".")[2] for name in names)])
    functions |= _sites.maker(site)
    what = thread.name + (f": {name_of(target)}" if target is not None else "")
    if any(one.f_code is _WORKER for one in stack):
        busy = stack[0].f_code is not _WORKER
        what = thread.name + (", at work" if busy else ", idle")
        cure = "with ThreadPoolExecutor() as executor: or executor.shutdown()"
        return Leak("executor", what, tuple(details), cure, functions)
    if isinstance(thread, threading.Timer):
        cure = "cancel() it; or ctx.sleep(seconds) in a thread of a group"
        return Leak("timer thread", thread.name, tuple(details), cure, functions)
    kind = "daemon thread" if thread.daemon else "thread"
    cure = "have its waits end (ctx.wait, queue.get(ctx)), and join it; or use a Group"
    return Leak(kind, what, tuple(details), cure, functions)


# Stands for a thread that something else than threading has started, as our timers'.
_NOT_STARTED = threading._DummyThread
_WAITS = {"queue", "threading"}
_WORKER = executors._worker.__code__
