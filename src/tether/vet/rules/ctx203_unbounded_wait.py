"""CTX203: a wait that the context at hand does not end."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._shapes import is_shutdown
from .._waits import WAITS, is_bounded

_METHODS = sorted({name.rpartition(".")[2] for name in WAITS} - {"sleep"})
_CURES = {
    "queue": "tether.Queue",
    "threading.Event": "tether.wait_for(ctx, event)",
    "threading.Semaphore": "tether.Semaphore",
    "subprocess.Popen": "with ctx.interrupting(process.kill)",
    "subprocess": "tether.ext.subprocess.run(ctx, ...)",
}


def check(file: File) -> Iterator[Found]:
    """Report unbounded waits of threads in functions that were given a context."""
    for call, function, callee in file.calls(*_METHODS):
        bound = WAITS.get(callee)
        if callee not in WAITS or is_bounded(call, bound):
            continue
        ctx = file.given(function)
        if not ctx or file.carries(call, function):
            continue
        if is_shutdown(file, call, function):
            continue
        if callee == "threading.Barrier.wait" and _has_own_limit(file):
            continue
        cure = next(
            (cure for start, cure in _CURES.items() if callee.startswith(start)),
            "timeout=min(60, ctx.remaining()), or ctx.interrupting(...)",
        )
        yield Found(
            call,
            f"{callee}() waits on when {ctx} has ended: {cure.replace('ctx', ctx)}",
        )


def _has_own_limit(file: File) -> bool:
    """Whether a barrier is made with a limit for each wait."""
    made = [call for call, _, _ in file.calls("Barrier")]
    return any(is_bounded(call, ("timeout", 2)) for call in made)


RULE = Rule(
    code="CTX203",
    name="unbounded-wait",
    says="a thread waits without the context at hand and without a limit",
    why="""\
A queue that stays empty, a lock whose holder hangs, a process that never ends: the
thread waits although the request is long over. Every wait can end with its context,
or at least has a limit.""",
    bad="""\
import queue
from tether import Context

jobs: queue.Queue[str] = queue.Queue()

def work(ctx: Context) -> None:
    job = jobs.get()
""",
    good="""\
from tether import Context, Queue

jobs: Queue[str] = Queue(100)

def work(ctx: Context) -> None:
    job = jobs.get(ctx)
""",
    check=check,
)
