"""CTX701: work that outlives the request is given the request's context."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._shapes import starts_work


def check(file: File) -> Iterator[Found]:
    """Report started work that nobody waits for and that has the context of here."""
    for call, function, callee in file.calls(
        "create_task", "ensure_future", "submit", "start", "add_task"
    ):
        if not isinstance(file.module.parents.get(call), ast.Expr):
            continue
        work = call
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr == "start":
            if not isinstance(func.value, ast.Call):
                continue
            work = func.value
            if starts_work(file.names.callee(work, function)) != "thread":
                continue
        elif isinstance(func, ast.Attribute) and func.attr == "add_task":
            text = ast.unparse(func.value).lower()
            if "background" not in callee.lower() and "background" not in text:
                continue
        elif not starts_work(callee):
            continue
        ctx = _handed(file, work, function)
        if ctx:
            yield Found(
                call,
                f"this work outlives the call, and {ctx} ends with it: give it"
                f" {ctx}.without_cancel() with a time limit of its own, or start it"
                f" with go_with({ctx}, ...) of a WaitGroup",
            )


def _handed(file: File, work: ast.Call, function: Function) -> str:
    """The context among the arguments, however deep; "" if it was detached first."""
    contexts = file.contexts(function)
    detached = {
        part.value.id
        for part in ast.walk(work)
        if isinstance(part, ast.Attribute)
        and part.attr in {"without_cancel", "bind"}
        and isinstance(part.value, ast.Name)
    }
    for part in ast.walk(work):
        if isinstance(part, ast.Name) and part.id in contexts:
            bound = [v for _, v in file.names.bindings(part.id, function)]
            if any(
                "without_cancel" in ast.unparse(b)
                for b in bound
                if isinstance(b, ast.expr)
            ):
                continue
            if part.id not in detached:
                return part.id
    return ""


RULE = Rule(
    code="CTX701",
    name="request-ctx-detached",
    says="work that outlives the request is given the request's context",
    why="""\
The request's context ends when the handler has returned, and with it the e-mail, the
audit record, the capture of the payment that were to go on behind it. Detached work
takes the values and the trace of the request, none of its end, and a limit of its
own.""",
    bad="""\
import asyncio
from tether import Context

async def pay(ctx: Context, order: int) -> None:
    asyncio.create_task(capture(ctx, order))
""",
    good="""\
from tether import Context, WaitGroup

detached = WaitGroup(timeout=10.0, limit=256)

async def pay(ctx: Context, order: int) -> None:
    detached.go_with(ctx, capture, order)
""",
    check=check,
)
