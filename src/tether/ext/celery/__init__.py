"""Celery tasks that run under a context and end with it.

    app = Celery("shop", broker=..., backend=..., task_cls=ContextTask)

    @app.task
    def reindex(path):
        ctx = current()             # what the sender had left, its values, its trace

    result = send(ctx, reindex, "a.txt")    # as reindex.delay("a.txt")
    rows = call(ctx, reindex, "a.txt")      # and wait; revoked if ctx ends first
    cancel(result)                          # ends the context of what runs

A message carries the time that is left and the instant at which it is over, and the
smaller counts. One that comes too late is refused: the function is not called.

How, and why not otherwise:

- `reindex.delay()` in a block sends the values of its context and the trace, and not
  its time: that is detached work, which shall outlive the request. `send` sends the
  time, too, and so says that it shall not.
- Revoking does nothing to a task that runs; with `terminate` it sends a signal to the
  process. SIGTERM kills that. SIGUSR2, which `cancel` has sent, cancels the context of
  the task there, and the process goes on.
- The signal has no room for a reason, nor for the name of the task. A pool that hands a
  process its next task when it has heard of the last one (`-O fair`, the default) sends
  none too late. One that comes too early, before the task has a context, is made up for
  by a look at the result backend: the worker marks there what is revoked.
- What is taken back by a revoke raises Celery's `Ignore`, whatever the function made of
  it, a retry included: so the state stays REVOKED.
"""

from ._send import call as call
from ._send import cancel as cancel
from ._send import send as send
from ._send import wait as wait
from ._task import ContextTask as ContextTask
from ._task import Revoked as Revoked

__all__ = ["ContextTask", "Revoked", "call", "cancel", "send", "wait"]
