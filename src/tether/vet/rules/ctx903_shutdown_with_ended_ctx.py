"""CTX903: the shutdown waits with the context that has just ended."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._libraries import DERIVE_SCOPE

_CLOSES = re.compile(
    r"^(shutdown|drain|aclose|close|stop|wait_closed|flush)(_async)?$", re.IGNORECASE
)


def check(file: File) -> Iterator[Found]:
    """Report clean-up behind `ctx.wait()` that is given the same context."""
    for last in ("wait", "wait_async"):
        for call, function in file.module.calls.get(last, ()):
            func = call.func
            if call.args or call.keywords or not isinstance(func, ast.Attribute):
                continue
            value = func.value
            if not isinstance(value, ast.Name):
                continue
            if not file.names.is_context(value, function):
                continue
            for later in _behind(file, call):
                yield from _uses(later, value.id)


def _behind(file: File, call: ast.Call) -> list[ast.stmt]:
    """The statements that follow the wait in its block."""
    statement = file.module.statement(call)
    if not isinstance(statement, ast.Expr):
        return []
    parent = file.module.parents.get(statement)
    for field in ("body", "orelse", "finalbody"):
        block = getattr(parent, field, None)
        if isinstance(block, list) and statement in block:
            return block[block.index(statement) + 1 :]
    return []


def _uses(node: ast.stmt, ctx: str) -> Iterator[Found]:
    for part in ast.walk(node):
        if not isinstance(part, ast.Call):
            continue
        func = part.func
        last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
        first = part.args[0] if part.args else None
        if _CLOSES.match(last) and isinstance(first, ast.Name) and first.id == ctx:
            yield Found(
                part,
                f"{ctx} has ended here, so {last}() gives up at once: give it"
                " background().with_timeout(30.0)",
            )
        elif (
            last in DERIVE_SCOPE
            and isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Name)
            and func.value.id == ctx
        ):
            yield Found(
                part,
                f"{ctx} has ended here, and with it all that is derived from it: derive"
                f" from background(), or from {ctx}.without_cancel()",
            )


RULE = Rule(
    code="CTX903",
    name="shutdown-with-ended-ctx",
    says="clean-up waits with the context whose end started it",
    why="""\
A child can never extend its parent: 30 s asked of a context that has ended are none,
and the drain returns at once with the work half done. Shutdown has a deadline of its
own.""",
    bad="""\
from tether import Context, WaitGroup

def serve(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait()
    with ctx.with_timeout(30.0) as grace:
        workers.drain(grace)
""",
    good="""\
from tether import Context, WaitGroup, background

def serve(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait()
    with background().with_timeout(30.0) as grace:
        workers.drain(grace)
""",
    check=check,
)
