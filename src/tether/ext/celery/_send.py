"""The sender's side: messages that carry a context, and results within one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tether import Context
from tether._elsewhere import fetched
from tether._errors import NOT_A_CONTEXT
from tether._loops import refuse_to_block
from tether._message import written

from ._library import (
    AsyncResult,
    EagerResult,
    Signature,
    Task,
    task_join_will_block,
)
from ._task import ContextTask


def send(
    ctx: Context, task: Task | Signature, *args: object, **kwargs: object
) -> AsyncResult:
    """Celery's result of `task.delay(*args, **kwargs)`, whose message carries `ctx`.

        result = send(ctx, reindex, "a.txt")
        result = send(ctx, reindex.s("a.txt").set(queue="slow", countdown=10))

    The task gets the time that is left, the values and the trace. It does not end
    with `ctx`, for a message may outlive who has sent it, but when its time is over;
    for work that shall take its own time, send it with `ctx.without_cancel()`.

    `task` is a `ContextTask`, or a signature of one, which may have options. Raises the
    error of `ctx` if it is over; nothing is sent then.
    """
    _check("send", ctx)
    _check_task(task)
    return _send(ctx, task, args, kwargs, {})


def _send(
    ctx: Context,
    task: Task | Signature,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    more: dict[str, object],
) -> AsyncResult:
    ctx.check()
    headers = {**(_options(task).get("headers") or {}), **written(ctx)}
    # Within `ctx` for `task_always_eager`, which calls the function here and now.
    apply = ctx.bind(task.apply_async)
    return apply(args, kwargs, headers=headers, **more)


def _options(task: Task | Signature) -> dict[str, Any]:
    options: dict[str, Any] = task.options if isinstance(task, Signature) else {}
    return options


def call(
    ctx: Context, task: Task | Signature, *args: object, **kwargs: object
) -> object:
    """What the task returns: `send` and `wait`; if `ctx` ends first, it is canceled.

    Blocks a thread. In a task of asyncio:

        rows = await to_thread(ctx, call, reindex, "a.txt")

    The task is canceled, too, if the wait fails for another reason: Ctrl-C, or a result
    backend that is gone. In a task of Celery it raises RuntimeError and sends nothing,
    as Celery does not allow one task to wait for another there.
    """
    _check("call", ctx)
    _check_task(task)
    _refuse("call", "await to_thread(ctx, call, ...)")
    ident = _options(task).get("task_id") or str(uuid4())
    result: AsyncResult | None = None
    stop: Callable[[], bool] | None = None
    try:
        result = sent = _send(ctx, task, args, kwargs, {"task_id": ident})
        stop = ctx.after_func(lambda: cancel(sent))
        _fetch(ctx, sent, propagate=False)
    except BaseException as exc:
        # If not, it has been canceled with `ctx`, or was not sent.
        if _may_be_sent(task, exc) if stop is None else stop():
            try:
                cancel(result or AsyncResult(ident, app=task.app))
            except Exception as also:
                exc.add_note(f"its task could not be canceled: {also!r}")
        raise
    stop()
    return sent.get()  # which has come


def _may_be_sent(task: Task | Signature, exc: BaseException) -> bool:
    """Whether Ctrl-C has come perhaps when it was sent, and that was not known yet."""
    return not isinstance(exc, Exception) and not task.app.conf.task_always_eager


def wait(ctx: Context, result: AsyncResult) -> object:
    """What the task of `result` returns; raises what it raised, or the error of `ctx`.

    When `ctx` ends it returns at once, and the task goes on: `cancel` it, or use
    `call`. Raises Celery's `TaskRevokedError` if somebody else has revoked it, and
    RuntimeError in a task of Celery, as `call` does.
    """
    _check("wait", ctx)
    _refuse("wait", "await to_thread(ctx, wait, result)")
    return _fetch(ctx, result, propagate=True)


def _fetch(ctx: Context, result: AsyncResult, *, propagate: bool) -> object:
    def get() -> object:
        # It looks a second late, and so is not in this thread.
        return result.get(propagate=propagate, on_interval=ctx.check)

    return fetched(ctx, get, lambda _: None)


def _refuse(name: str, in_a_task: str) -> None:
    """Not where it would hold up others that it may be waiting for."""
    refuse_to_block(name, in_a_task)
    if task_join_will_block():
        raise RuntimeError(
            f"{name}() in a task of Celery would keep a process of the pool waiting "
            "for another one, which may never be free; send() it, or say that it may: "
            "with celery.result.allow_join_result(): ..."
        )


def cancel(*results: AsyncResult) -> None:
    """Have tasks revoked: what runs has its context canceled, what waits is dropped.

    One message for all of them, which nobody answers. On a worker whose tasks are no
    `ContextTask`, it ends the process of a task that runs.
    """
    for result in results:
        if not isinstance(result, AsyncResult):
            raise TypeError(
                f"cancel takes the results of tasks, one by one, not {result!r}; "
                "of several: cancel(*results)"
            )
    sent = [result for result in results if not isinstance(result, EagerResult)]
    if sent:  # the others have been called here, and have returned
        idents = [result.id for result in sent]
        sent[0].app.control.revoke(idents, terminate=True, signal="SIGUSR2")


def _check_task(task: object) -> None:
    if not isinstance(task, Task | Signature):
        raise TypeError(f"send takes a task or a signature second, not {task!r}")
    if isinstance(task, Signature) and task.get("subtask_type"):
        raise TypeError(
            f"{task!r} is of several tasks, and only the first would get the headers; "
            "send them one by one"
        )
    try:
        kind = task.type if isinstance(task, Signature) else task
    except KeyError:
        return  # of a task that only the workers know
    if not isinstance(kind, ContextTask):
        raise TypeError(
            f"{task!r} is no ContextTask: it would run on after its time, and a cancel "
            "would kill its process; make the application with task_cls=ContextTask"
        )


def _check(name: str, ctx: object) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name=name, value=ctx))
