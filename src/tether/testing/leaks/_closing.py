"""What a loop still has when its runner is about to close it.

`asyncio.run`, `Runner` and, with it, pytest-asyncio, anyio's plugin and
`IsolatedAsyncioTestCase` end by canceling all that is left, without a word, and wait
for it, for ever if it swallows the cancel. This takes the place of that step
(`asyncio.runners._cancel_all_tasks`) while somebody watches: first whoever is about to
end may do so, then what is left is told, then it is canceled; what goes on even so is
told and left behind.

Timers and generators can be seen here only, and of loops that are asyncio's own; uvloop
keeps them in C.
"""

from __future__ import annotations

import asyncio
from asyncio import runners
from collections.abc import Callable, Iterable
from typing import Any, final

from ..._where import name_of
from . import _chains
from ._leak import Leak
from ._owner import in_variables
from ._patience import pauses
from ._tasks import Loop, Task, Tasks, stubborn
from ._threads import is_idle_worker

LIMIT = 1.0  # real seconds for what was canceled to end
# Those of a test runner, which ends them by exactly this.
RUNNERS = {"TestRunner._run_tests_and_fixtures"}
PLUMBING = ("asyncio", "anyio", "tether", "uvloop")


@final
class Closing:
    """Tells `report` of what each loop has left that is closed by a runner."""

    def __init__(self, tasks: Tasks, report: Callable[[object, Leak], None]) -> None:
        self._tasks = tasks
        self._report = report
        self._before: Any = None

    def start(self) -> None:
        self._before = runners._cancel_all_tasks  # type: ignore[attr-defined]
        runners._cancel_all_tasks = self._close  # type: ignore[attr-defined]

    def stop(self) -> None:
        runners._cancel_all_tasks = self._before  # type: ignore[attr-defined]

    def _close(self, loop: Loop) -> None:
        for pause in pauses():
            if not self._unfinished(loop) and not _timers(loop) and not _busy(loop):
                break
            loop.run_until_complete(asyncio.sleep(pause))
        found = {task: self._tasks.found(task) for task in self._unfinished(loop)}
        leaks = {task: one.tell() for task, one in found.items()}
        for handle in _timers(loop):
            whose = in_variables(getattr(handle, "_context", None))
            self._report(whose, _timer(handle, handle.when() - loop.time()))
        for generator in _generators(loop):
            self._report(None, _generator(generator))
        if _busy(loop):
            self._leave_executor(loop)
        self._cancel(loop, asyncio.all_tasks(loop))
        for task, leak in leaks.items():
            self._report(found[task].owner, leak if task.done() else stubborn(task))
            self._tasks.forget(task)

    def _unfinished(self, loop: Loop) -> list[Task]:
        return [
            task
            for task in self._tasks.unfinished(loop)
            if RUNNERS.isdisjoint(_chains.functions(task.get_coro()))
        ]

    def _cancel(self, loop: Loop, tasks: Iterable[Task]) -> None:
        left = {*tasks}
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LIMIT))
        for task in left:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            elif not task.cancelled() and task.exception() is not None:
                loop.call_exception_handler(
                    {
                        "message": "unhandled exception during asyncio.run() shutdown",
                        "exception": task.exception(),
                        "task": task,
                    }
                )

    def _leave_executor(self, loop: Loop) -> None:
        """A thread that blocks would hold up the closing: its owner is told of it."""
        executor = loop._default_executor  # type: ignore[attr-defined]
        loop._default_executor = None  # type: ignore[attr-defined]
        executor.shutdown(wait=False)


def _busy(loop: Loop) -> bool:
    """Whether a thread of its default executor is at work."""
    executor = getattr(loop, "_default_executor", None)
    threads = () if executor is None else getattr(executor, "_threads", ())
    return any(one.is_alive() and not is_idle_worker(one) for one in [*threads])


def _timers(loop: Loop) -> list[asyncio.TimerHandle]:
    """Its timers that are somebody's own: not those of a sleep or a timeout."""
    return [
        handle
        for handle in [*getattr(loop, "_scheduled", ())]
        if not handle.cancelled() and _module(handle).partition(".")[0] not in PLUMBING
    ]


def _module(handle: Any) -> str:
    callback = handle._callback
    callback = getattr(callback, "func", callback)
    return getattr(callback, "__module__", None) or ""


def _timer(handle: Any, left: float) -> Leak:
    name = name_of(handle._callback)
    cure = "keep what call_later returns, and cancel() it"
    names = frozenset({name.rstrip("()"), name.rstrip("()").rpartition(".")[2]})
    return Leak("timer", name, (f"due in {left:.3g} s",), cure, names)


def _generators(loop: Loop) -> list[Any]:
    """Asynchronous generators that stand at a yield and that somebody holds."""
    return [
        one
        for one in [*getattr(loop, "_asyncgens", ())]
        if one.ag_frame is not None and not one.ag_running
    ]


def _generator(one: Any) -> Leak:
    frame = one.ag_frame
    details = () if frame is None else (f"at {_chains.place(frame)}",)
    cure = "async with contextlib.aclosing(generator): around the loop that uses it"
    names = frozenset({one.__qualname__, one.__name__})
    return Leak("asynchronous generator", f"{one.__qualname__}()", details, cure, names)
