"""CTX401: work is started beside the group."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._shapes import is_shutdown, starts_work


def check(file: File) -> Iterator[Found]:
    """Report tasks, threads and submits in functions that were given a context."""
    for call, function, callee in file.calls(
        "create_task", "ensure_future", "Thread", "submit"
    ):
        kind = starts_work(callee)
        ctx = file.given(function)
        if not kind or not ctx or is_shutdown(file, call, function):
            continue
        if any(
            isinstance(part, ast.Attribute) and part.attr == "bind"
            for part in ast.walk(call)
        ):
            continue
        if isinstance(file.module.parents.get(call), ast.Expr):
            continue  # CTX701 and CTX703
        if _is_looked_after(file, call, function):
            continue
        yield Found(
            call,
            f"this {kind} does not end with {ctx}, and its error is nobody's:"
            f" start it with go() of a Group({ctx}), or of a WaitGroup if it may"
            " outlive the call",
        )


def _is_looked_after(file: File, call: ast.Call, function: Function) -> bool:
    """Whether it has a name, and a `finally` of the function has that name, too."""
    given = file.module.statement(call)
    if not isinstance(given, ast.Assign):
        return False
    names = {target.id for target in given.targets if isinstance(target, ast.Name)}
    return any(
        names & file.mentions(statement)
        for node, where in file.module.of(ast.Try)
        if where is function and isinstance(node, ast.Try)
        for statement in node.finalbody
    )


RULE = Rule(
    code="CTX401",
    name="bare-task",
    says="a task, a thread or a submitted call is started beside a group",
    why="""\
Fan-out goes through a group: it fills in the context, the first error ends the
siblings, and leaving the block waits for all. A bare task lives on when the function
has failed, and its error is printed by the garbage collector, if at all.""",
    bad="""\
import asyncio
from tether import Context

async def page(ctx: Context) -> None:
    user = asyncio.create_task(load_user(ctx))
    cart = asyncio.create_task(load_cart(ctx))
    await show(ctx, await user, await cart)
""",
    good="""\
from tether import Context, Group

async def page(ctx: Context) -> None:
    async with Group(ctx) as group:
        user = group.go(load_user)
        cart = group.go(load_cart)
    await show(ctx, user.result(), cart.result())
""",
    check=check,
)
