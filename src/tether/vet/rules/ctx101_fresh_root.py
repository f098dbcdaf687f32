"""CTX101: a root is made where a context is at hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._shapes import has_request, is_shutdown, is_start


def check(file: File) -> Iterator[Found]:
    """Report `background()` and `todo()` below a context or a request."""
    for call, function, callee in file.calls("background", "todo"):
        if callee not in {"tether.background", "tether.todo"}:
            continue
        made = callee.rpartition(".")[2]
        ctx = file.given(function)
        if is_shutdown(file, call, function) or _is_default(file, call, ctx):
            continue
        if isinstance(file.module.parents.get(call), ast.Compare):
            continue  # `current() is background()` asks, and starts nothing
        if ctx:
            yield Found(
                call,
                f"{made}() starts anew although {ctx} is at hand; what runs under it"
                f" outlives {ctx}: use {ctx}, or {ctx}.without_cancel() on purpose",
                (Edit(place(call), end(call), ctx),),
            )
        elif has_request(file, function) and not is_start(file, function):
            yield Found(
                call,
                f"{made}() starts anew although this handles a request; its work runs"
                " on when the client has left: use current()",
            )


def _is_default(file: File, call: ast.Call, ctx: str) -> bool:
    """Whether it stands in for a context that was not given: `ctx or background()`."""
    for around in file.module.ancestors(call):
        if isinstance(around, ast.BoolOp) and call in around.values:
            return True
        if isinstance(around, (ast.If, ast.IfExp)) and ctx in file.mentions(
            around.test
        ):
            return True
    return False


RULE = Rule(
    code="CTX101",
    name="fresh-root",
    says="a root is made where a context or a request is at hand",
    why="""\
Work below a root of its own does not end when the request ends: the client has left,
the query runs on. Handlers derive from the request's context. Shutdown is different:
what cleans up after an end needs a context that has not ended, and is not reported.""",
    bad="""\
from tether import Context, background

def reserve(ctx: Context, item: int) -> None:
    with background().with_timeout(2.0) as budget:
        store(budget, item)
""",
    good="""\
from tether import Context

def reserve(ctx: Context, item: int) -> None:
    with ctx.with_timeout(2.0) as budget:
        store(budget, item)
""",
    check=check,
    fixable=True,
)
