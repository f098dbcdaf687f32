"""CTX702: detached work without a limit of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule

_LIMITS = frozenset({"with_timeout", "with_deadline"})


def check(file: File) -> Iterator[Found]:
    """Report `without_cancel()` that no time limit follows."""
    for call, function in file.module.calls.get("without_cancel", ()):
        func = call.func
        if not isinstance(func, ast.Attribute):
            continue
        if not file.names.is_context(func.value, function):
            continue
        if any(_limits(around) for around in file.module.ancestors(call)):
            continue
        if _is_shield(file, call):
            continue
        statement = file.module.statement(call)
        if isinstance(statement, ast.Return):
            continue  # the caller's business
        names = {
            target.id
            for target in getattr(statement, "targets", [])
            if isinstance(target, ast.Name)
        }
        names |= {
            item.optional_vars.id
            for item in getattr(statement, "items", [])
            if isinstance(item.optional_vars, ast.Name)
        }
        limited = any(
            isinstance(part, ast.Attribute)
            and part.attr in _LIMITS
            and isinstance(part.value, ast.Name)
            and part.value.id in names
            for part in ast.walk(function.node)
        )
        stored = any(
            isinstance(target, (ast.Attribute, ast.Subscript))
            for target in getattr(statement, "targets", [])
        )
        if not limited and not stored:
            yield Found(
                call,
                "without_cancel() takes the deadline away with the rest: add"
                " .with_timeout(...), or this work may run for good",
            )


def _is_shield(file: File, call: ast.Call) -> bool:
    """`with ctx.without_cancel().with_cancel():`, which hands nothing on."""
    up: ast.AST | None = call
    while isinstance(up, (ast.Call, ast.Attribute)):
        up = file.module.parents.get(up)
    return isinstance(up, ast.withitem) and up.optional_vars is None


def _limits(node: ast.AST) -> bool:
    """`....with_timeout(...)`, or a constructor or call with a `timeout=`."""
    if isinstance(node, ast.Attribute):
        return node.attr in _LIMITS
    return isinstance(node, ast.Call) and any(
        given.arg in {"timeout", "deadline"} for given in node.keywords
    )


RULE = Rule(
    code="CTX702",
    name="detached-without-limit",
    says="a `without_cancel()` is not followed by a time limit",
    why="""\
Work that was taken out of its request has nobody who would end it. It needs a limit
of its own, and an owner that waits for it at shutdown.""",
    bad="""\
from tether import Context

def capture(ctx: Context, order: int) -> None:
    charge(ctx.without_cancel(), order)
""",
    good="""\
from tether import Context

def capture(ctx: Context, order: int) -> None:
    with ctx.without_cancel().with_timeout(10.0) as own:
        charge(own, order)
""",
    check=check,
)
