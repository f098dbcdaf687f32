"""The worker's side: functions under a context that ends with their task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from tether import Context, Scope
from tether._message import scope_of, working

from ._library import dask, distributed

_NAME = "tether"
_PAUSE = 0.05  # seconds for the other one to speak, see _Plugin
_REMEMBERED = 10_000
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
        self.scope = scope
        self.dropped = False  # whether Dask no longer wants it here


@final
class _Plugin(distributed.WorkerPlugin):
    """Cancels the context of a task that is no longer wanted here.

    Dask says so, and its submitter says why; the two come by different ways. Whichever
    comes second ends the task, or a pause after the first: the submitter may be dead,
    and Dask has never heard of a task that was canceled while its graph was read.
    """

    name = _NAME

    def __init__(self) -> None:
        self.running: dict[str, _Running] = {}  # by key
        self.ended: dict[str, str] = {}  # why groups have ended; the oldest first
        self._loop: asyncio.AbstractEventLoop

    def setup(self, worker: distributed.Worker) -> None:  # noqa: ARG002
        """It begins; on the worker's loop, as all of this."""
        self._loop = asyncio.get_running_loop()

    def transition(
        self,
        key: Any,
        start: Any,  # noqa: ARG002
        finish: Any,
        **_: Any,
    ) -> None:
        """Something becomes of a task of this worker."""
        if finish == "released" and (running := self.running.get(key)) is not None:
            running.dropped = True
            self._end_soon(running)

    def tell(self, group: str, why: str) -> None:
        """The context of a submitter has ended; its tasks may also come later."""
        self.ended[group] = f"its submitter's context has ended: {why}"
        if len(self.ended) > _REMEMBERED:
            del self.ended[next(iter(self.ended))]
        for running in [*self.running.values()]:
            if running.group == group:
                self._end_soon(running)

    def _end_soon(self, running: _Running) -> None:
        if running.dropped and running.group in self.ended:
            self.end(running)
        else:
            self._loop.call_later(_PAUSE, self.end, running)

    def end(self, running: _Running) -> None:
        """Cancel its context."""
        why = self.ended.get(running.group, _GIVEN_UP)
        running.scope.cancel(Withdrawn(why))

    def teardown(self, worker: distributed.Worker) -> None:
        """The worker leaves."""
        why = f"the worker {worker.address} is closing"
        for running in [*self.running.values()]:
            running.dropped = True
            running.scope.cancel(Withdrawn(why))


async def tell(reasons: dict[str, str], *, dask_worker: distributed.Worker) -> None:
    """Called on each worker when the tasks of submitters are canceled."""
    await _install(dask_worker)
    plugin = dask_worker.plugins[_NAME]
    assert isinstance(plugin, _Plugin)
    for group, why in reasons.items():
        plugin.tell(group, why)


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
    with _begun(worker, n, sent, fn) as ctx:
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
    with _begun(worker, n, sent, fn) as ctx:
        return await fn(ctx, *args)


@contextmanager
def _begun(
    worker: distributed.Worker, n: int, sent: Sent, fn: object
) -> Iterator[Context]:
    """A block around a task of this worker."""
    key = f"{sent.prefix}-{n}"
    plugin = worker.plugins.get(_NAME)
    if not isinstance(plugin, _Plugin):
        raise distributed.Reschedule  # the worker has begun to close
    skew = dask.config.get("tether.clock-skew", None)
    scope = scope_of(sent.headers, sent.label, fn, skew)
    running = plugin.running[key] = _Running(sent.group, scope)
    try:
        # From now on the plugin hears of it; what was before, it and the state tell.
        task = worker.state.tasks.get(key)
        if task is None or task.state in {"cancelled", "released"}:  # spelling: theirs
            running.dropped = True
        if running.dropped or sent.group in plugin.ended:
            plugin.end(running)
        with working(
            scope, sent.headers, lambda: running.dropped, distributed.Reschedule
        ):
            yield scope
    finally:
        if plugin.running.get(key) is running:
            del plugin.running[key]
