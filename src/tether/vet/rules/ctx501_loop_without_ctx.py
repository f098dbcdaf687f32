"""CTX501: a loop that does not notice the end."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule


def check(file: File) -> Iterator[Found]:
    """Report loops of threads that call something and never mention the context."""
    for node, function in file.module.of(ast.While, ast.For):
        if function.is_async:
            continue
        ctx = file.given(function)
        if not ctx or file.mentions(node) & file.contexts(function):
            continue
        if isinstance(node, ast.For) and isinstance(node.iter, (ast.Tuple, ast.List)):
            continue  # over a handful
        if any(
            isinstance(around, (ast.For, ast.While))
            and file.mentions(around) & file.contexts(function)
            for around in file.module.ancestors(node)
        ):
            continue
        if any(isinstance(part, ast.Call) for s in node.body for part in ast.walk(s)):  # type: ignore[attr-defined]
            yield Found(
                node,
                f"this loop does not notice when {ctx} ends: go through"
                f" {ctx}.poll(items), or call {ctx}.check() in it",
            )


RULE = Rule(
    code="CTX501",
    name="loop-without-ctx",
    says="a loop in a thread never looks at the context at hand",
    why="""\
A thread cannot be interrupted, so a loop that computes must look: every 100 items
are enough, `ctx.poll(items, every=100)` does it. Off by default: most loops are
short.""",
    bad="""\
from tether import Context

def total(ctx: Context, rows: list[str]) -> int:
    result = 0
    for row in rows:
        result += score(row)
    return result
""",
    good="""\
from tether import Context

def total(ctx: Context, rows: list[str]) -> int:
    result = 0
    for row in ctx.poll(rows, every=100):
        result += score(row)
    return result
""",
    check=check,
    default=False,
)
