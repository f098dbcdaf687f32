"""prometheus-client: what contexts are alive, how they end, what calls have left.

    undo = instrument()          # into the default registry; undo() switches it off

    tether_contexts_live{root}              scopes that nobody has let go of
    tether_contexts_overdue{root}           those that are over, and still run
    tether_contexts_done_total{root,cause}  those that have ended, and why
    tether_tasks{root}                      what groups have to do, running or queued
    tether_asyncio_tasks{root}              all tasks of event loops
    tether_work_shed_total{root}            what a full group has refused
    tether_work_abandoned_total{root}       what `to_thread` has ever left behind
    tether_threads_abandoned                what of that still runs
    tether_call_budget_seconds{to}          what a call or a statement begins with
    tether_calls_without_deadline_total{to} those that nothing bounds
    tether_call_usual_seconds{hop}          how long a call takes as a rule
    tether_deadline_cascade_total{hop}      those that begin with less than that
    tether_release_seconds{resource}        how long calls went on after their context

`cause` is one of these:

    left                 the block was left: the work is done
    canceled             `cancel()`, and its block had not been left
    client_disconnected  the caller of a request went away
    deadline_exceeded    its own time was up
    parent               something above it ended; that one counts for itself
    dropped              it was never ended: a `ResourceWarning` says where it was made

Overdue are the blocks that the live page calls over but still running: entered, not
left, and their time is up, or they were canceled. What was left in order is done,
whoever may refer to it.

`to` is "service" for calls to other services, messages that take their time along
included, and the kind of the database, as "postgresql", for the statements of
`tether.ext`.

A `hop` is a method and a host, as "GET users:8080", or a method of gRPC, as
"/shop.Stock/Get", and what is usual there is the median of the latest hundred calls,
until the answer begins: the head of a response, the first message of a stream. A call
that begins with less is there because somebody above has used up the time: the logger
`tether` says so once a minute for each hop.

Each scope costs a weak reference and a count while it is on, and two looks at a name
when it is off. The rest is worked out when somebody scrapes. `root` is the label of the
work: for a request its route, where the framework tells it (Starlette, FastAPI,
Litestar, Flask, Django), else its path. Only the first `roots` labels, and as many
hops, get a series of their own; the other labels share "other", so that one which is
made of an id does not fill the server's memory.

In the multi-process mode of prometheus-client (PROMETHEUS_MULTIPROC_DIR) the counters
of calls and of work are added up over the processes. What is told of contexts and tasks
is seen only in the process that is scraped: the library has no collectors of one's own
there.
"""

from ._instrument import instrument as instrument

__all__ = ["instrument"]
