"""What a task waits for: the lock, queue, group or task, and its name in the program.

Nobody tells, so it is found: the innermost `self` of the await chain that is something
to wait for, or the task that is awaited.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from types import FrameType
from typing import Any, NamedTuple

from .. import _piece, _where
from .._crew import Crew
from .._handle import Handle
from .._queue import Queue
from .._semaphore import Semaphore
from .._where import runs
from ._chain import Task, frames, innermost

_LOCKS = (
    *(asyncio.Lock, asyncio.Semaphore, asyncio.Condition),
    *(Semaphore,),
)
# What is waited for, and held by nobody.
_OTHERS = (
    *(asyncio.Event, asyncio.Queue, asyncio.TaskGroup, asyncio.Barrier),
    *(asyncio.StreamReader, Crew, Handle, Queue),
)
# What calls a piece of work: it is the piece that waits, and not for its crew.
_CALLERS = {_piece._work.__code__, _piece._work_async.__code__}
_WRAPPERS = {"anyio", "asyncio", "tether"}  # who waits there says nothing
DEPTH = 12  # how far out from the innermost frame such a thing is looked for


class Wait(NamedTuple):
    """What one task waits for."""

    what: str
    thing: object | None
    """The lock or group itself, if it is one."""
    kind: str
    """The same of all who wait for such a one, each for its own, and at each look."""


def of_task(task: Task) -> tuple[Wait, list[FrameType]]:
    """What a task waits for, and its frames."""
    chain = frames(task)
    thing, outside = _thing(chain)
    waiter = innermost(task)
    if thing is not None:
        return _wait(thing, outside), chain
    if isinstance(waiter, asyncio.Task):
        name, kind = waiter.get_name(), f"task {runs(waiter)}"
        return Wait(f"task {name}", waiter, kind), chain
    children = getattr(waiter, "_children", None)
    if children is not None:
        left = sum(not child.done() for child in children)
        said = f"gather: {left} of {len(children)} to end"
    elif not chain:
        said = "its first step"
    elif waiter is None:
        said = "nothing: it is ready to run, or runs"
    else:
        said = _called(chain)
    return Wait(said, None, said), chain


def of_thread(frame: FrameType | None) -> tuple[Wait, list[FrameType]]:
    """What a thread waits for, and its frames from the outermost to the innermost."""
    chain: list[FrameType] = []
    while frame is not None:
        chain.append(frame)
        frame = frame.f_back
    chain.reverse()
    thing, outside = _thing(chain)
    if thing is not None:
        return _wait(thing, outside), chain
    return Wait("", None, ""), chain


def waits_for(chain: list[FrameType]) -> str:
    """What the frames of a task wait for, of one that has some."""
    thing, outside = _thing(chain)
    return _called(chain) if thing is None else _wait(thing, outside).what


def _called(chain: list[FrameType]) -> str:
    """The function that waits, as the program has called it.

    Of `sleep_async()` that, and not what waits inside of it.
    """
    at = len(chain) - 1
    home = _home(chain[at])
    while home in {"asyncio", "tether"} and at and _home(chain[at - 1]) == home:
        at -= 1
    return f"{chain[at].f_code.co_qualname}()"


def _home(frame: FrameType) -> str:
    """The package that it belongs to; "" of what only calls a piece of work."""
    if frame.f_code in _CALLERS:
        return ""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def state(thing: object) -> str:
    """How full or free it is."""
    if isinstance(thing, Semaphore):
        return f"{thing._line.free:g} of {thing._size} free"
    if isinstance(thing, Queue):
        return f"{len(thing._queue)} items"
    if isinstance(thing, asyncio.Semaphore):
        return f"{thing._value} free"
    if isinstance(thing, asyncio.Lock | asyncio.Condition):
        return "locked" if thing.locked() else "free"
    if isinstance(thing, asyncio.Queue):
        return f"{thing.qsize()} items, limit {thing.maxsize or 'none'}"
    if isinstance(thing, asyncio.Event):
        return "set" if thing.is_set() else "not set"
    if isinstance(thing, Crew):
        return f"{thing._left} pieces left, {thing._running} run"
    if isinstance(thing, asyncio.TaskGroup):
        tasks: set[Task] = thing._tasks
        return f"{len(tasks)} tasks left"
    return ""


def is_held(thing: object) -> bool:
    """Whether somebody can hold it."""
    return isinstance(thing, _LOCKS)


def places(thing: object) -> int:
    """How many can hold it at most, as far as it says."""
    if isinstance(thing, Semaphore):
        return thing._size
    if isinstance(thing, asyncio.Semaphore):
        return int(getattr(thing, "_bound_value", sys.maxsize))
    return 1


def owners(thing: object) -> list[Task]:
    """The tasks that a group or an awaited task waits for."""
    if isinstance(thing, asyncio.Task):
        return [thing]
    if isinstance(thing, asyncio.TaskGroup):
        return [*thing._tasks]
    handles: list[Handle[Any]] = []
    if isinstance(thing, Crew):
        handles = [*thing._pieces]
    elif isinstance(thing, Handle):
        handles = [thing]
    every = (handle._task for handle in handles)
    return [task for task in every if isinstance(task, asyncio.Task)]


def _thing(chain: list[FrameType]) -> tuple[object | None, list[FrameType]]:
    """The innermost thing to wait for, and the frames outside of its own methods.

    Nothing outside of the program's own innermost frame: that waits for what it called.
    """
    for index in range(len(chain) - 1, max(-1, len(chain) - 1 - DEPTH), -1):
        frame = chain[index]
        if frame.f_code in _CALLERS:
            break
        thing = _self(frame)
        if issubclass(type(thing), _LOCKS + _OTHERS):
            outside = chain[:index]
            own = [frame]
            while outside and _self(outside[-1]) is thing:
                own.append(outside.pop())
            if any(one.f_code.co_name == "__init__" for one in own):
                break  # it is only being made, by a thread that goes on meanwhile
            return thing, outside
        if not _where.is_of_a_library(frame):
            break
    return None, []


def _self(frame: FrameType) -> object:
    """What a method is called on, or a function of a crew with."""
    names = frame.f_code.co_varnames
    if not names or names[0] not in {"self", "crew"}:
        return None
    return frame.f_locals.get(names[0])


def _wait(thing: object, outside: list[FrameType]) -> Wait:
    """By what the program calls it, or by its address and who waits for such a one."""
    kind, name = _kind(thing), _name(thing, outside)
    if name:
        said = f"{kind} {name}"
        return Wait(said, thing, said)
    for frame in reversed(outside):
        if _home(frame) not in _WRAPPERS:
            kind += f" in {frame.f_code.co_qualname}()"
            break
    return Wait(f"{kind} at {id(thing):#x}", thing, kind)


def _name(thing: object, outside: list[FrameType]) -> str:
    """What the program calls it, seen from the nearest frame that has a name for it."""
    if isinstance(thing, Handle):
        return thing.name
    for frame in reversed(outside):
        found = _local(thing, frame) or _global(thing, frame)
        if found:
            return found
    return ""


def _local(thing: object, frame: FrameType) -> str:
    known = [*frame.f_locals.items()]
    for name, value in known:
        if value is thing:
            return f"{name} of {frame.f_code.co_qualname}()"
    for _, value in known:
        try:  # without asking the object, which may be a proxy
            attributes = object.__getattribute__(value, "__dict__")
        except AttributeError:
            continue
        for attribute, inner in [*attributes.items()]:
            if inner is thing:
                return f"{type(value).__qualname__}.{attribute}"
    return ""


def _global(thing: object, frame: FrameType) -> str:
    module = str(frame.f_globals.get("__name__", ""))
    for name, value in [*frame.f_globals.items()]:
        if value is thing:
            return f"{module}.{name}"
    return ""


def _kind(thing: object) -> str:
    kind = type(thing)
    home = kind.__module__.partition(".")[0]
    return f"{home}.{kind.__qualname__}" if home == "asyncio" else kind.__qualname__


def kind_of(thing: object) -> str:
    """The name of its type."""
    return "Task" if isinstance(thing, asyncio.Task) else _kind(thing)


def task_name(task: Task) -> str:
    """Its name and what it runs."""
    return f"{task.get_name()}: {runs(task)}"


def thread_name(ident: int) -> str:
    """The name of a thread."""
    for one in threading.enumerate():
        if one.ident == ident:
            return one.name
    return f"thread {ident}"
