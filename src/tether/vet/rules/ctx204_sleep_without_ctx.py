"""CTX204: a sleep that the context at hand does not end."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._shapes import is_shutdown


def check(file: File) -> Iterator[Found]:
    """Report `time.sleep` in functions of threads that have a context.

    Not `asyncio.sleep`: the block that a task is in interrupts it.
    """
    for call, function, callee in file.calls("sleep"):
        ctx = file.given(function)
        if callee != "time.sleep" or function.is_async or not ctx:
            continue
        if is_shutdown(file, call, function):
            continue
        ctx = next(
            (name for _, name in file.scopes_around(call, function) if name), ctx
        )
        cure = f"{ctx}.sleep"
        yield Found(
            call,
            f"this sleeps on when {ctx} has ended: use {cure}()",
            (Edit(place(call.func), end(call.func), cure),) if _is_plain(call) else (),
        )


def _is_plain(call: ast.Call) -> bool:
    """Whether it says how long, and nothing else."""
    return len(call.args) == 1 and not call.keywords


RULE = Rule(
    code="CTX204",
    name="sleep-without-ctx",
    says="a sleep does not end with the context at hand",
    why="""\
Back-off and pauses are where a service hangs at shutdown. `ctx.sleep(s)` wakes up
when the context ends and raises its error. (In a task `asyncio.sleep` does, too, as
long as the context is that of a block around it.)""",
    bad="""\
import time
from tether import Context

def retry(ctx: Context) -> None:
    time.sleep(0.5)
""",
    good="""\
from tether import Context

def retry(ctx: Context) -> None:
    ctx.sleep(0.5)
""",
    check=check,
    fixable=True,
)
