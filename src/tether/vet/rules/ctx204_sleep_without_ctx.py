"""CTX204: a sleep that the context at hand does not end."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._shapes import is_shutdown


def check(file: File) -> Iterator[Found]:
    """Report `time.sleep` and `asyncio.sleep` in functions that have a context."""
    for call, function, callee in file.calls("sleep"):
        ctx = file.given(function)
        if not ctx or is_shutdown(file, call, function):
            continue
        ctx = next(
            (name for _, name in file.scopes_around(call, function) if name), ctx
        )
        awaited = isinstance(file.module.parents.get(call), ast.Await)
        if callee == "time.sleep" and not function.is_async:
            cure = f"{ctx}.sleep"
        elif callee in {"asyncio.sleep", "anyio.sleep"} and awaited:
            if _is_yield(call) or any(file.scopes_around(call, function)):
                continue  # in a block of its own context it is interrupted
            cure = f"{ctx}.sleep_async"
        else:
            continue
        yield Found(
            call,
            f"this sleeps on when {ctx} has ended: use {cure}()",
            (Edit(place(call.func), end(call.func), cure),) if _is_plain(call) else (),
        )


def _is_plain(call: ast.Call) -> bool:
    """Whether it says how long, and nothing else."""
    return len(call.args) == 1 and not call.keywords


def _is_yield(call: ast.Call) -> bool:
    """`asyncio.sleep(0)` lets others run; it does not wait."""
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value == 0


RULE = Rule(
    code="CTX204",
    name="sleep-without-ctx",
    says="a sleep does not end with the context at hand",
    why="""\
Back-off and pauses are where a service hangs at shutdown. `ctx.sleep(s)` wakes up
when the context ends and raises its error.""",
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
