"""What a loop still has when its runner is about to close it.

`asyncio.run`, `Runner` and, with it, pytest-asyncio, anyio's plugin and
`IsolatedAsyncioTestCase` end by canceling all that is left, without a word, and wait
for it, for ever if it swallows the cancel. This takes the place of that step
(`asyncio.runners._cancel_all_tasks`) while somebody watches: first whoever is about to
end may do so, then what is left is told, then it is canceled; what goes on even so is
told and left behind.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import runners
from collections.abc import Callable, Hashable, Iterable
from typing import Any, final

from ..._awaits import coro_of
from . import _chains
from ._leak import Leak
from ._patience import pauses
from ._pending import generators, timers
from ._tasks import Loop, Task, Tasks, stubborn
from ._threads import is_idle_worker

LIMIT = 1.0  # real seconds for what was canceled to end
# Those of a test runner, which ends them by exactly this.
RUNNERS = {"TestRunner._run_tests_and_fixtures"}


@final
class Closing:
    """Tells `report` of what each loop has left that is closed by a runner."""

    def __init__(
        self, tasks: Tasks, report: Callable[[object, Leak, Hashable], None]
    ) -> None:
        self._tasks = tasks
        self._report = report
        self._before: Any = None

    def start(self) -> None:
        self._before = runners._cancel_all_tasks  # type: ignore[attr-defined]
        runners._cancel_all_tasks = self._close  # type: ignore[attr-defined]

    def stop(self) -> None:
        runners._cancel_all_tasks = self._before  # type: ignore[attr-defined]

    def _close(self, loop: Loop) -> None:
        unfinished = self._settled(loop)
        if self._has_closed_generators(loop):
            unfinished = self._settled(loop)
        found = {task: self._tasks.found(task) for task in unfinished}
        leaks = {task: one.tell() for task, one in found.items()}
        pending = timers(loop, installed=True) | generators(loop)
        for key, one in pending.items():
            self._report(one.owner, one.tell(), key)
        if _busy(loop):
            self._leave_executor(loop)
        self._cancel(loop, asyncio.all_tasks(loop))
        for task, leak in leaks.items():
            said = leak if task.done() else stubborn(task)
            self._report(found[task].owner, said, None)
            self._tasks.forget(task)

    def _settled(self, loop: Loop) -> list[Task]:
        """The tasks that go on, when whoever is about to end has done so."""
        unfinished = self._unfinished(loop)
        for pause in pauses():
            if not unfinished and not timers(loop, installed=True) and not _busy(loop):
                break
            loop.run_until_complete(asyncio.sleep(pause))
            unfinished = self._unfinished(loop)
        return unfinished

    def _has_closed_generators(self, loop: Loop) -> bool:
        """Whether the loop has got to close some that nobody holds any more.

        A thread that has just given back a result may hold one for a moment.
        """
        if not generators(loop):
            return False
        for pause in pauses():
            gc.collect()
            loop.run_until_complete(asyncio.sleep(pause))
            if not generators(loop):
                break
        return True

    def _unfinished(self, loop: Loop) -> list[Task]:
        return [
            task
            for task in self._tasks.unfinished(loop)
            if RUNNERS.isdisjoint(_chains.functions(coro_of(task)))
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
