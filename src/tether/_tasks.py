"""The tasks of this process, and what they work for; for those who look from outside.

Asked from any thread, also while a loop answers nobody.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from . import _loops
from ._context import Context
from ._current import Pending, var
from ._loops import Loop, Task


def running() -> dict[Loop, int]:
    """The loops that run, and in which thread."""
    found: dict[Loop, int] = {}
    for ident, frame in sys._current_frames().items():
        loop = _loop_of(frame)
        if loop is not None and not loop.is_closed():
            found[loop] = ident
    del frame  # our own is among them: a cycle, and it would hold our caller's, too
    for state in [*_loops.states.values()]:
        loop = state._loop()
        if loop is not None and not loop.is_closed() and loop.is_running():
            found.setdefault(loop, 0)
    return found


def all_tasks(loops: Iterable[Loop]) -> list[Task]:
    """The tasks of all loops that are not done."""
    if sys.version_info >= (3, 14):
        return [task for loop in loops for task in asyncio.all_tasks(loop)]
    module: Any = asyncio.tasks
    eager: list[Task] = []
    if sys.version_info >= (3, 12):
        refs = [*module._scheduled_tasks.data]  # one step: no loop comes in between
        eager = [*module._eager_tasks]
    else:
        refs = [*module._all_tasks.data]
    there = (ref() for ref in refs)
    tasks: list[Task] = [task for task in there if task is not None]
    return [task for task in [*tasks, *eager] if not task.done()]


def context_of(task: Task) -> Context | None:
    """The context that is current in a task, if one is."""
    variables = _variables(task)
    ctx = None if variables is None else variables.get(var)
    return ctx._tether_context() if isinstance(ctx, Pending) else ctx


def _variables(task: Task) -> contextvars.Context | None:
    ask = getattr(task, "get_context", None)
    if ask is not None:
        variables: contextvars.Context = ask()
        return variables
    for one in gc.get_referents(task):  # 3.11 does not tell otherwise
        if one.__class__ is contextvars.Context:
            return one
    return None


def _loop_of(frame: FrameType | None) -> Loop | None:
    """The loop that runs in the thread of a frame, if it shows itself."""
    outer = frame
    while outer is not None:
        name = outer.f_code.co_name
        if name in {"run_forever", "run_until_complete", "_run_once"}:
            loop = outer.f_locals.get("self")
            if isinstance(loop, asyncio.AbstractEventLoop):
                return loop
        elif name == "run":  # of asyncio.Runner: uvloop has no frames of its own
            runner = outer.f_locals.get("self")
            if isinstance(runner, asyncio.Runner):
                found: Any = getattr(runner, "_loop", None)
                return found  # type: ignore[no-any-return]
        outer = outer.f_back
    return None
