"""What is only said once, when it is too late: destroyed tasks, lost errors, warnings.

Such a thing is not there any more when a test is over, so it is heard when it is said:
by the loop's exception handler, the hook for errors in finalizers, the warnings about
coroutines and resources. All of them still say it to whom they said it before.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, final

from ..._awaits import coro_of
from ..._where import runs
from . import _chains, _sites
from ._descriptors import key_of
from ._leak import Leak
from ._owner import owner

DESTROYED = "Task was destroyed but it is pending!"
LOST = "exception was never retrieved"
UNHANDLED = "unhandled exception during asyncio.run() shutdown"

Report = Callable[[object, Leak, Hashable], None]


@final
class Hearing:
    """Passes on what it hears, with whose it is, to `report`.

    A task is often collected long after its test, so it is asked for by `maker_of`; of
    one that was made while nobody watched nothing is said.
    """

    def __init__(self, maker_of: Callable[[Any], object], report: Report) -> None:
        self._maker_of = maker_of
        self._report = report
        self._undo: list[Callable[[], None]] = []

    def start(self) -> None:
        kinds: list[type] = [asyncio.BaseEventLoop]
        uvloop = sys.modules.get("uvloop")
        if uvloop is not None:
            kinds.append(uvloop.Loop)
        for kind in kinds:
            self._replace(
                kind, "call_exception_handler", self._complaint, kind in kinds[1:]
            )
        self._replace(warnings, "_warn_unawaited_coroutine", self._unawaited, False)
        self._replace(sys, "unraisablehook", self._unraisable, False)

    def stop(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _replace(
        self,
        where: Any,
        name: str,
        heard: Callable[..., None],
        inherited: bool,
    ) -> None:
        before = getattr(where, name)
        both = _both(before, heard)
        setattr(where, name, both)

        def undo() -> None:
            if getattr(where, name) is both:  # else somebody has put theirs over it
                if inherited and name in where.__dict__:
                    delattr(where, name)
                else:
                    setattr(where, name, before)

        self._undo.append(undo)

    def _complaint(self, context: dict[str, Any]) -> None:
        message = str(context.get("message", ""))
        error = context.get("exception")
        task = context.get("task") or context.get("future")
        coro = coro_of(task) if isinstance(task, asyncio.Task) else None
        functions = frozenset() if coro is None else _chains.functions(coro)
        said = "" if task is None else _said(task)
        whose = owner.get()
        if isinstance(task, asyncio.Task):
            whose = self._maker_of(task)
            if whose is None:
                return
        if message == DESTROYED:
            lines = [f"at {line}" for line in reversed(_chains.lines(coro))]
            cure = "keep a reference to the task and await it, or start it in a Group"
            leak = Leak("task destroyed", said, tuple(lines), cure, functions)
        elif LOST in message and isinstance(error, SystemExit | KeyboardInterrupt):
            return  # it has gone through the loop
        elif LOST in message:
            cure = "await the task, or start it in a Group or TaskGroup"
            what = f"{type(error).__name__}: {error}"
            leak = Leak("exception never retrieved", what, (said,), cure, functions)
        elif message == UNHANDLED:
            return  # of a task that is reported
        else:
            what = message if error is None else f"{message}: {error!r}"
            leak = Leak("event loop's complaint", what, (), "", functions)
        self._report(whose, leak, None)

    def _unawaited(self, coro: Any) -> None:
        name = coro.__qualname__
        what = f"{name}()"
        details = _sites.words("noticed at", _sites.here(sys._getframe(2)))
        names = frozenset({name, name.rpartition(".")[2]})
        leak = Leak("coroutine never awaited", what, tuple(details), "await it", names)
        self._report(owner.get(), leak, None)

    def _unraisable(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if isinstance(error, ResourceWarning):
            self._resource(error, None)
        elif not isinstance(error, Warning):
            what = f"{type(error).__name__}: {error}"
            where = (
                f"in {getattr(unraisable.object, '__qualname__', unraisable.object)!s}"
            )
            leak = Leak("error in a finalizer", what, (where,))
            self._report(owner.get(), leak, None)

    def _resource(self, warning: Warning, source: object) -> None:
        said = str(warning)
        cure = "close it: with, or finally"
        if "never canceled" in said:
            cure = "use it in a with block, or cancel() it when the work is over"
        leak = Leak("dropped without being closed", said, (), cure)
        self._report(owner.get(), leak, key_of(source))

    @contextmanager
    def resource_warnings(self) -> Iterator[None]:
        """Inside, warnings about resources are heard, which are off by default.

        To be entered inside of what catches warnings for the test: those blocks put
        back what they have found.
        """
        # At the end it is Python's own; elsewhere, somebody has asked for it.
        default = ("ignore", None, ResourceWarning, None, 0)
        show = warnings._showwarnmsg_impl  # type: ignore[attr-defined]

        def heard(message: Any) -> None:
            if issubclass(message.category, ResourceWarning):
                self._resource(message.message, message.source)
                if was_off:
                    return
            show(message)

        with warnings.catch_warnings():
            was_off = [*warnings.filters][-1:] == [default]
            if was_off:
                warnings.filters.pop()  # type: ignore[attr-defined]
                warnings.filterwarnings("always", category=ResourceWarning, append=True)
            warnings._showwarnmsg_impl = heard  # type: ignore[attr-defined]
            yield


@lru_cache(maxsize=16)  # the same for each watch
def _both(before: Callable[..., Any], heard: Callable[..., None]) -> Any:
    @wraps(before)
    def both(*args: Any) -> Any:
        heard(args[-1])
        return before(*args)

    return both


def _said(task: Any) -> str:
    if isinstance(task, asyncio.Task):
        return f"task {task.get_name()}: {runs(task)}"
    return type(task).__name__
