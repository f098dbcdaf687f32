"""Work on the workers of a Dask cluster that ends with its context here.

    call = submit(ctx, client, reindex, "a.txt")     # reindex(ctx, path), over there
    rows = call.result()                             # or: await call

The function gets a context with the time that is left, the values that have a wire name
and the trace. When `ctx` ends, what runs has its context canceled, with the reason that
there was here, and what waits in a queue does not start in its place. The same comes
when this process dies, however it dies: the scheduler drops its work.

How, and why not otherwise:

- Dask forgets a task that is canceled, and its thread runs on. The worker is told all
  the same, and has a hook for what becomes of a task: `WorkerPlugin.transition`. That
  is what ends the context. It comes in the order in which the scheduler decides, so no
  task starts in the place of one that was canceled with it.
- The reason goes to all workers, a little ahead (`Client.run`): a cancel has no room
  for it. A worker that has heard one of the two waits 50 ms for the other, and refuses
  what still comes: a cancel that the scheduler gets while it reads the graph is lost.
- A context that has ended because Dask wanted so raises `Reschedule`. If the task was
  canceled, nobody hears it; if its worker is about to close, it begins anew elsewhere.
- The first task on a worker installs the plugin there, before its function is called,
  so nothing has to be set up, and a worker that comes later has it, too. tether must be
  installed on the workers.

What is not quite public about that, in distributed 2025 and 2026: `plugins` and
`plugin_add` of a worker, and `state.tasks`, which is read once, at the start of a task.
"""

from ._call import Call as Call
from ._call import Lost as Lost
from ._call import gather as gather
from ._call import gather_async as gather_async
from ._submit import map as map  # noqa: A004
from ._submit import submit as submit
from ._worker import Withdrawn as Withdrawn

__all__ = ["Call", "Lost", "Withdrawn", "gather", "gather_async", "map", "submit"]
