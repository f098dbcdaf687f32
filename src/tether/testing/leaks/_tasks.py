"""Tasks that still wait, and tasks whose error nobody has asked for.

The loops' `create_task` is wrapped while somebody watches, which tells who made a task
and where, for a microsecond each. Debug mode would take a hundred.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Hashable
from functools import lru_cache, partial, wraps
from typing import Any, final
from weakref import WeakSet, ref

from ... import _loops
from ..._awaits import coro_of
from ..._where import name_of, runs
from . import _chains, _sites
from ._contexts import words
from ._found import Found
from ._leak import Leak
from ._owner import in_variables, owner

Task = asyncio.Task[Any]
Loop = asyncio.AbstractEventLoop


@final
class _Made(ref[Task]):
    """A weak reference to a task with what was seen when it was made."""

    __slots__ = ("owner", "site")

    owner: object
    site: _sites.Site


@final
class Tasks:
    """The tasks of every loop that have not ended, or failed in silence."""

    def __init__(self) -> None:
        self._made: set[_Made] = set()
        self._forget = self._made.discard
        self._makers: dict[int, object] = {}  # by id, as a weak reference dies first
        self._wrapped: list[tuple[type, Any]] = []
        self._noting = lru_cache(maxsize=4)(self._wrap)  # the same for each watch
        self._loops: WeakSet[Loop] = WeakSet()

    def start(self) -> None:
        kinds: list[type] = [asyncio.BaseEventLoop]
        uvloop = sys.modules.get("uvloop")
        if uvloop is not None:
            kinds.append(uvloop.Loop)
        for kind in kinds:
            before = kind.__dict__.get("create_task")
            self._wrapped.append((kind, before))
            kind.create_task = self._noting(kind.create_task)  # type: ignore[attr-defined]

    def stop(self) -> None:
        for kind, before in self._wrapped:
            if before is None:
                del kind.create_task  # type: ignore[attr-defined]
            else:
                kind.create_task = before  # type: ignore[attr-defined]
        self._wrapped.clear()

    def open_loops(self) -> list[Loop]:
        """Those of whose tasks some were seen, and which are not closed."""
        if not self._loops:
            return []
        return [loop for loop in [*self._loops] if not loop.is_closed()]

    def adopt_all(self) -> None:
        """Note what was made while nobody watched."""
        for loop in self.open_loops():
            self.adopt(loop)

    def forget_makers(self) -> None:
        """Who made a task is asked for as long as somebody watches."""
        self._makers.clear()

    def _wrap(self, create_task: Callable[..., Task]) -> Callable[..., Task]:
        @wraps(create_task)
        def noting(loop: Loop, coro: Any, **kwargs: Any) -> Task:
            task = create_task(loop, coro, **kwargs)
            variables = kwargs.get("context")
            whose = owner.get() if variables is None else in_variables(variables)
            self._makers[id(task)] = whose
            self._note(task, whose, _sites.here(sys._getframe(1)))
            self._loops.add(loop)
            return task

        return noting

    def _note(self, task: Task, whose: object, site: _sites.Site) -> None:
        made = _Made(task, self._forget)
        made.owner, made.site = whose, site
        self._made.add(made)

    def adopt(self, loop: Loop) -> None:
        """Note those of a loop that were made in some other way."""
        known = {id(made()) for made in list(self._made)}
        for task in asyncio.all_tasks(loop):
            if id(task) not in known:
                get_context = getattr(task, "get_context", None)  # from 3.12 on
                variables = None if get_context is None else get_context()
                self._note(task, in_variables(variables), None)

    def now(self) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        for made in list(self._made):
            task = made()
            if task is None:
                continue
            if not task.done():
                found[made] = Found(made.owner, partial(_waiting, made))
            elif getattr(task, "_log_traceback", False) and not _is_exit(task):
                found[made, "failed"] = Found(made.owner, partial(_failed, made))
        return found

    def maker_of(self, task: Task) -> object:
        """Whose it is, if it was made while somebody watched; else None."""
        return self._makers.get(id(task))

    def found(self, task: Task) -> Found:
        """One that has not ended."""
        made = next(made for made in self._made if made() is task)
        return Found(made.owner, partial(_waiting, made))

    def forget(self, task: Task) -> None:
        """It has been told."""
        self._made -= {made for made in self._made if made() is task}

    def unfinished(self, loop: Loop) -> list[Task]:
        """Those of this loop that have not ended."""
        if asyncio.all_tasks(loop):
            self.adopt(loop)
        tasks = [made() for made in list(self._made)]
        return [
            task
            for task in tasks
            if task is not None and not task.done() and task.get_loop() is loop
        ]


def _is_exit(task: Task) -> bool:
    """Whether it asked for the end of the program, which has gone through the loop."""
    return isinstance(getattr(task, "_exception", None), SystemExit | KeyboardInterrupt)


def _waiting(made: _Made) -> Leak:
    task = made()
    if task is None or task.done():
        return Leak("task", "one that has ended meanwhile")
    coro = coro_of(task)
    details = [f"at {line}" for line in reversed(_chains.lines(coro))]
    waits = _chains.waits_for(task)
    if waits:
        details.insert(0, f"waits for: {waits}")
    return Leak(
        "task",
        f"{task.get_name()}: {name_of(coro)}",
        (*details, *_made_at(made), *belongs(task)),
        "await it, or start it in a Group or TaskGroup whose block waits for it",
        _chains.functions(coro) | _sites.maker(made.site),
    )


def stubborn(task: Task) -> Leak:
    """One that was canceled and goes on."""
    coro = coro_of(task)
    return Leak(
        "task that swallows cancel",
        f"{task.get_name()}: {name_of(coro)}",
        tuple(f"at {line}" for line in reversed(_chains.lines(coro))),
        "let CancelledError pass: catch it only to clean up, and raise it again",
        _chains.functions(coro),
    )


def _failed(made: _Made) -> Leak:
    task = made()
    if task is None or task.cancelled():
        return Leak("exception never retrieved", "of a task that has gone meanwhile")
    # Asked in this way it still counts as never retrieved.
    error = getattr(task, "_exception", None)
    return Leak(
        "exception never retrieved",
        f"{type(error).__name__}: {error}",
        (f"of task {task.get_name()}: {runs(task)}", *_made_at(made)),
        "await the task, or start it in a Group or TaskGroup",
        _chains.functions(coro_of(task)) | {runs(task).rstrip("()")},
    )


def _made_at(made: _Made) -> list[str]:
    return _sites.words("made at", made.site)


def belongs(task: Task) -> list[str]:
    """Which context's block it is in, and how long that has."""
    stacks = [
        stack
        for state in [*_loops.states.values()]
        for stack in [*state.stacks.values()]
        if stack.task is task and stack.blocks
    ]
    return [f"in the block of {words(stack.blocks[-1])}" for stack in stacks]
