"""The worker's side: the class of tasks that run under a context."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import current_thread, main_thread
from typing import Any, final

from tether import ContextError, Scope, current
from tether._message import scope_of, working
from tether.wire import TIMEOUT, Outbound, format_milliseconds, parse_milliseconds

from ._library import REVOKED, DisabledBackend, Ignore, Task, maybe_make_aware, signals

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
        task_id: str | None = None,
        *others: Any,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """As Celery's, with the values and the trace of `current()` as headers."""
        carried = dict(headers or {})
        _DETACHED.write(current(), carried, now=time.time())
        told = parse_milliseconds(carried.get(TIMEOUT, ""))
        if told is not None:
            # A retry carries the headers of the task that asks for it. With those alone
            # each would win the time by which clocks may differ.
            those = _of(task_id)
            left = min([told, *(one.scope.remaining() for one in those)])
            carried[TIMEOUT] = format_milliseconds(left)
        return super().apply_async(
            args, kwargs, task_id, *others, headers=carried, **options
        )

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,  # noqa: FBT002  as Celery has it
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """As Celery's, for as long as somebody wants the task and it has time.

        Raises `Ignore` if it was revoked. If its time is over before the retry would
        begin, raises `exc`, as after the last retry, or `DeadlineExceeded`.
        """
        for running in _of(self.request.id):
            if running.revoked:
                raise Ignore
            wait = self.default_retry_delay if countdown is None else countdown
            if isinstance(eta, datetime) and not countdown:  # as Celery reads the two
                zoned = maybe_make_aware(eta, self.app.timezone)
                wait = max(0.0, zoned.timestamp() - time.time())
            if exc is not None and running.scope.remaining() < wait:
                raise exc
            running.scope.require(wait)
        return super().retry(
            args, kwargs, exc, throw, eta, countdown, max_retries, **options
        )


@contextmanager
def _begun(task: ContextTask) -> Iterator[None]:
    """A block around a task of this worker."""
    told = (task.request.headers or {}).items()
    headers = {name: text for name, text in told if isinstance(text, str)}
    skew = task.app.conf.get("tether_clock_skew")
    scope = scope_of(headers, task.name, task.run, skew)
    running = _Running(task.request.id, scope)
    _running.add(running)
    try:
        if task.request.get("tether_revoked"):
            running.revoke()
        with working(scope, headers, lambda: running.revoked, Ignore):
            yield
    except ContextError as exc:
        exc.args = (exc.detail,)  # of which a result in JSON is made again
        raise
    finally:
        _running.discard(running)


def _of(ident: object) -> list[_Running]:
    """The task of this id that runs here, if it does."""
    return [one for one in [*_running] if one.ident == ident]


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
