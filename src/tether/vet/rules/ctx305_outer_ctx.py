"""CTX305: inside the block of a scope, the context around it is passed on."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._libraries import DERIVE_CONTEXT, DERIVE_SCOPE
from .._shapes import is_shutdown

# What is meant to outlive the block, or to look at the outer context.
_MEANT = frozenset(
    {
        *("go_with", "try_go_with", "drain", "drain_async", "merge", "bind", "print"),
        *(
            "repr",
            "str",
            "isinstance",
            "id",
            "debug",
            "info",
            "warning",
            "error",
            "log",
        ),
    }
)


def check(file: File) -> Iterator[Found]:
    """Report calls in a `with` block whose context is the one around the block."""
    for node, function in file.module.of(ast.With, ast.AsyncWith):
        assert isinstance(node, (ast.With, ast.AsyncWith))
        for item in node.items:
            outer = _derived_from(file, item.context_expr, function)
            inner = item.optional_vars
            if not outer or not isinstance(inner, ast.Name) or inner.id == outer:
                continue
            for part in _calls(node.body):
                if not _passes(part, outer) or is_shutdown(file, part, function):
                    continue
                facts = file.facts(file.names.callee(part, function))
                if facts is None or not facts.keeps:  # that is about the scope itself
                    yield Found(
                        part.args[0],
                        f"{outer} is passed inside the block of {inner.id}, so the"
                        " callee looks at another deadline than its caller: pass"
                        f" {inner.id}",
                    )


def _derived_from(file: File, node: ast.expr, function: Function) -> str:
    """`ctx` of `ctx.with_timeout(...)`, or of `Group(ctx)`; "" for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    func = node.func
    if (
        isinstance(func, ast.Attribute)
        and func.attr in DERIVE_SCOPE
        and isinstance(func.value, ast.Name)
        and file.names.is_context(func.value, function)
    ):
        return func.value.id
    return ""


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """The calls that run in a block; not in functions that are only defined there."""
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.ExceptHandler):
            continue  # the inner one may have ended
        if isinstance(node, ast.Call):
            yield node
        todo += ast.iter_child_nodes(node)


def _passes(call: ast.Call, outer: str) -> bool:
    func = call.func
    last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if last in _MEANT or last in DERIVE_SCOPE | DERIVE_CONTEXT:
        return False
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Name) and first.id == outer


RULE = Rule(
    code="CTX305",
    name="outer-ctx",
    says="the outer context is passed inside the block of an inner one",
    why="""\
What is called looks at the caller's deadline and not at the budget. In a thread it
runs on when the budget is over; in a task the explicit and the current context
disagree. What is meant to outlive the block goes to `go_with`.""",
    bad="""\
from tether import Context

def total(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(ctx)
""",
    good="""\
from tether import Context

def total(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work)
""",
    check=check,
)
