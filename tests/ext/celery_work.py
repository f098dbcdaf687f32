"""What the tests have done by the workers of Celery: `celery -A tests.ext.celery_work`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import opentelemetry.propagate  # noqa: F401  with it, the trace is read
from celery import Celery, Task
from celery.result import allow_join_result
from opentelemetry.trace import get_current_span

from tests.ext.notes import note
from tether import Context, ContextError, current
from tether.ext import psycopg
from tether.ext.celery import ContextTask, call
from tether.wire import REQUEST_ID

URL = os.environ.get("REDIS")
app = Celery("work", broker=URL, backend=URL, task_cls=ContextTask)
app.conf.update(
    broker_connection_retry_on_startup=True,
    result_backend_thread_safe=True,  # one for all threads, which closes what it opens
    worker_prefetch_multiplier=2,  # so that some wait in the workers, too
    worker_hijack_root_logger=False,
)


@app.task(shared=False)
def tell(what: str) -> tuple[str, float | None, str | None, str]:
    ctx = current()
    left = None if ctx.deadline is None else ctx.remaining()
    return what, left, ctx.value(REQUEST_ID), ctx.label


@app.task
def double(number: int) -> int:
    return 2 * number


@app.task(base=Task)
def plain_double(number: int) -> int:
    """Without a context, to compare with."""
    return 2 * number


@app.task
def trace() -> str:
    # As text: 128 bits are more than a number in JSON.
    return f"{get_current_span().get_span_context().trace_id:032x}"


@app.task
def process() -> int:
    return os.getpid()


def end(ctx: Context) -> str:
    error = ctx.err()
    assert isinstance(error, ContextError)
    return f"{type(error).__name__}: {ctx.cause()} ({error.detail})"


@app.task
def wait(log: str) -> None:
    note(log, f"started by {os.getpid()}")
    ctx = current()
    try:
        ctx.sleep(600)
    finally:
        note(log, f"stopped: {end(ctx)}")


@app.task(track_started=True)
def wait_tracked(log: str) -> None:
    wait.run(log)


@app.task
def fail() -> None:
    raise LookupError("no such thing")


@app.task
def pass_on() -> object:
    """What a task gets that this one sends without a word."""
    return tell.delay("on").id


@app.task
def call_another(log: str) -> object:
    return call(current(), wait, log)


@app.task
def call_another_all_the_same() -> object:
    with allow_join_result():
        return call(current(), double, 4)


@app.task(bind=True, max_retries=5)
def again(self: ContextTask, log: str) -> None:
    note(log, f"left {current().remaining()}")
    raise self.retry(countdown=0)


@app.task(bind=True, max_retries=5)
def again_at_the_end(self: ContextTask, log: str) -> None:
    note(log, "started")
    current().wait()
    raise self.retry(countdown=0)


@app.task(bind=True, max_retries=5)
def again_out_of_a_budget(self: ContextTask) -> int:
    with current().with_timeout(0.001) as budget:
        budget.wait()
        if not self.request.retries:
            raise self.retry(countdown=0)
    return int(self.request.retries)


@app.task(autoretry_for=(Exception,), retry_kwargs={"max_retries": 3, "countdown": 0})
def wait_retried(log: str) -> None:
    wait.run(log)


@app.task
def wait_disguised(log: str) -> None:
    try:
        wait.run(log)
    except ContextError as exc:
        raise RuntimeError("it did not work") from exc


@app.task(autoretry_for=(LookupError,), retry_kwargs={"countdown": 3600})
def fail_retried() -> None:
    raise LookupError("no such thing")


@app.task(bind=True)
def again_in_an_hour(self: ContextTask, by_eta: bool) -> None:
    if by_eta:
        raise self.retry(eta=datetime.now(UTC) + timedelta(hours=1))
    raise self.retry(countdown=3600)


@app.task
def query(url: str, sql: str) -> None:
    import psycopg as driver

    with driver.connect(url) as conn:
        psycopg.execute(current(), conn, sql)
