"""The worker's side: functions under a context that ends with their task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from tether import Context, ContextError, Scope
from tether._message import scope_of, tracing

from ._library import distributed

_NAME = "tether"
_GIVEN_UP = "Dask has given the task up: it was canceled, or its submitter is gone"


class Withdrawn(Exception):
    """Nobody wants the task any more: the `cause()` of its context. It says why."""


class Sent(NamedTuple):
    """What comes with every task."""

    prefix: str
    """Of the key; the number of the task follows."""
    group: str
    """What ends together, at the submitter's."""
    label: str
    headers: dict[str, str]


@final
class _Running:
    """A task at work here."""

    def __init__(self, group: str, scope: Scope) -> None:
        self.group = group
        self.why = ""  # what its submitter has told
        self.withdrawn = False
        self._scope = scope

    def withdraw(self, why: str) -> None:
        self.withdrawn = True
        self._scope.cancel(Withdrawn(self.why or why))


@final
class _Plugin(distributed.WorkerPlugin):
    """Cancels the context of a task that Dask no longer wants here."""

    name = _NAME

    def __init__(self) -> None:
        self.running: dict[str, _Running] = {}  # by key

    def transition(
        self,
        key: Any,
        start: Any,  # noqa: ARG002
        finish: Any,
        **_: Any,
    ) -> None:
        """Something becomes of a task of this worker."""
        if finish == "released" and (running := self.running.get(key)) is not None:
            running.withdraw(_GIVEN_UP)

    def teardown(self, worker: distributed.Worker) -> None:
        """The worker leaves."""
        for running in [*self.running.values()]:
            running.withdraw(f"the worker {worker.address} is closing")


def tell(group: str, why: str, *, dask_worker: distributed.Worker) -> None:
    """Called on each worker before the tasks of a submitter are canceled."""
    plugin = dask_worker.plugins.get(_NAME)
    if isinstance(plugin, _Plugin):
        for running in [*plugin.running.values()]:
            if running.group == group:
                running.why = f"its submitter's context has ended: {why}"


async def _install(worker: distributed.Worker) -> None:
    # On the worker's loop, so that nobody comes between the look and the entry.
    if _NAME not in worker.plugins:
        await worker.plugin_add(_Plugin(), name=_NAME, catch_errors=False)


def run(n: int, args: tuple[Any, ...], sent: Sent, fn: Callable[..., Any]) -> Any:
    """Call a function, in a thread of the worker."""
    worker = distributed.get_worker()
    if _NAME not in worker.plugins:
        loop = worker.loop.asyncio_loop  # type: ignore[attr-defined]
        asyncio.run_coroutine_threadsafe(_install(worker), loop).result()
    with _begun(worker, n, sent) as ctx:
        return fn(ctx, *args)


async def run_async(
    n: int,
    args: tuple[Any, ...],
    sent: Sent,
    fn: Callable[..., Coroutine[Any, Any, Any]],
) -> Any:
    """Await a coroutine function, on the worker's loop."""
    worker = distributed.get_worker()
    await _install(worker)
    with _begun(worker, n, sent) as ctx:
        return await fn(ctx, *args)


@contextmanager
def _begun(worker: distributed.Worker, n: int, sent: Sent) -> Iterator[Context]:
    """A block around a task of this worker."""
    key = f"{sent.prefix}-{n}"
    plugin = worker.plugins.get(_NAME)
    if not isinstance(plugin, _Plugin):
        raise distributed.Reschedule  # the worker has begun to close
    scope = scope_of(sent.headers, sent.label)
    running = plugin.running[key] = _Running(sent.group, scope)
    try:
        # From now on the plugin hears of it; what was before, the state tells.
        task = worker.state.tasks.get(key)
        if task is None or task.state in {"cancelled", "released"}:  # spelling: theirs
            running.withdraw(_GIVEN_UP)
        with tracing(sent.headers), scope as ctx:
            yield ctx
    except ContextError as exc:
        if running.withdrawn:
            raise distributed.Reschedule from exc
        raise
    finally:
        if plugin.running.get(key) is running:
            del plugin.running[key]
