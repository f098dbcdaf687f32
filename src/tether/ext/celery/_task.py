"""The worker's side: the class of tasks that run under a context."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any, final

from tether import ContextError, Scope, current
from tether._clock import INF
from tether._message import scope_of, tracing
from tether.wire import TIMEOUT, Outbound, format_milliseconds, parse_milliseconds

from ._library import REVOKED, DisabledBackend, Ignore, Task, signals

_DETACHED = Outbound(timeout=None)  # values and trace, and no time
_running: set[_Running] = set()  # in this process: one, unless its pool has threads


class Revoked(Exception):
    """The task was revoked while it ran: the `cause()` of its context."""


@final
class _Running:
    """A task at work here."""

    def __init__(self, ident: str, scope: Scope) -> None:
        self.revoked = False
        self.ident = ident
        self.scope = scope

    def revoke(self) -> None:
        self.revoked = True
        self.scope.cancel(Revoked("the task was revoked"))


class ContextTask(Task):  # type: ignore[misc]
    """A Celery task whose function runs under a context, which is `current()`.

        app = Celery("shop", broker=..., backend=..., task_cls=ContextTask)

    or `@app.task(base=ContextTask)` for one task. The context has the time that the
    sender had left, if it was sent by `send` or `call`, its values and its trace, and
    ends when the task is revoked by `cancel`. A function that is called when it is over
    already does nothing: the task fails with `DeadlineExceeded`.

    `delay` and `apply_async` send the values and the trace of `current()`, not its
    time. Called as a function, or eagerly, it runs under the context of its caller.
    """

    abstract = True
    throws = (ContextError,)  # an end is expected: a line in the log, no traceback

    def __call__(self, *args: object, **kwargs: object) -> object:
        request = self.request
        if request.called_directly or request.is_eager:
            return super().__call__(*args, **kwargs)
        with _begun(self):
            return self.run(*args, **kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        *,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """As Celery's, with the values and the trace of `current()` as headers."""
        carried = dict(headers or {})
        _DETACHED.write(current(), carried, now=time.time())
        told = parse_milliseconds(carried.get(TIMEOUT, ""))
        if told is not None:
            # A retry carries the headers of the task that asks for it. With those alone
            # each would win the second that clocks may differ.
            left = min(told, _left(options.get("task_id")))
            carried[TIMEOUT] = format_milliseconds(left)
        return super().apply_async(args, kwargs, headers=carried, **options)


@contextmanager
def _begun(task: ContextTask) -> Iterator[None]:
    """A block around a task of this worker."""
    told = (task.request.headers or {}).items()
    headers = {name: text for name, text in told if isinstance(text, str)}
    scope = scope_of(headers, task.name)
    running = _Running(task.request.id, scope)
    _running.add(running)
    try:
        if task.request.get("tether_revoked"):
            running.revoke()
        with tracing(headers), scope:
            yield
    except ContextError as exc:
        if running.revoked:
            raise Ignore from exc
        exc.args = (exc.detail,)  # of which a result in JSON is made again
        raise
    finally:
        _running.discard(running)


def _left(ident: object) -> float:
    """The seconds that a task has left which runs here."""
    those = [one.scope for one in [*_running] if one.ident == ident]
    return min((scope.remaining() for scope in those), default=INF)


def _look(task: Any, task_id: str, **_: object) -> None:
    """Whether it was revoked before it has begun; before Celery marks it as started."""
    if not isinstance(task, ContextTask):
        return
    backend = task.backend
    if isinstance(backend, DisabledBackend):
        return
    if backend.get_state(task_id) == REVOKED:
        task.request.update(tether_revoked=True)


def _on_signal(*_: object) -> None:
    for running in [*_running]:
        running.revoke()


def _listen(**_: object) -> None:
    """A process of the pool begins."""
    if hasattr(signal, "SIGUSR2") and current_thread() is main_thread():
        signal.signal(signal.SIGUSR2, _on_signal)


signals.worker_process_init.connect(_listen, weak=False)
signals.task_prerun.connect(_look, weak=False)
