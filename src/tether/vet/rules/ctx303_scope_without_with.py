"""CTX303: a scope that is released by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._libraries import SCOPE
from .._shapes import enters


def check(file: File) -> Iterator[Found]:
    """Report `scope = ...; try: ... finally: scope.cancel()`."""
    for node, function in file.module.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Name):
            continue
        if not isinstance(node.value, ast.Call):
            continue
        if file.names.kind(node.value, function) != SCOPE:
            continue
        follower = _next(file, node)
        if not isinstance(follower, ast.Try):
            continue
        if not any(_is_cancel(one, target.id) for one in follower.finalbody):
            continue
        if any(enters(part, target.id) for part in ast.walk(follower)):
            continue
        if any(_hands_on_cancel(part, target.id) for part in ast.walk(follower)):
            continue  # what it ends is elsewhere, and not this task
        yield Found(
            node,
            f"{target.id} is released by hand, and in a task its end interrupts"
            f" nothing: `with {ast.unparse(node.value)} as {target.id}:` does both",
            _rewrite(file, node, target, follower),
        )


def _next(file: File, node: ast.stmt) -> ast.stmt | None:
    parent = file.module.parents.get(node)
    for field in ("body", "orelse", "finalbody"):
        block = getattr(parent, field, None)
        if isinstance(block, list) and node in block:
            at = block.index(node) + 1
            return block[at] if at < len(block) else None
    return None


def _is_cancel(node: ast.stmt, name: str) -> bool:
    """`name.cancel()`, without a cause."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and not node.value.args
        and not node.value.keywords
        and ast.unparse(node.value.func) == f"{name}.cancel"
    )


def _hands_on_cancel(node: ast.AST, name: str) -> bool:
    """`call_later(1.0, scope.cancel)`."""
    return isinstance(node, ast.Call) and any(
        isinstance(arg, ast.Attribute) and ast.unparse(arg) == f"{name}.cancel"
        for arg in node.args
    )


def _rewrite(
    file: File, node: ast.Assign, target: ast.Name, follower: ast.Try
) -> tuple[Edit, ...]:
    """The edits, if the `try` has nothing but this one line in its `finally`."""
    if follower.handlers or follower.orelse or len(follower.finalbody) > 1:
        return ()
    opening = f"with {ast.unparse(node.value)} as {target.id}:"
    last = end(follower.body[-1])
    lines = file.module.text.split("\n")
    below = "\n".join(lines[last[0] - 1 : follower.end_lineno])
    if lines[follower.lineno - 1].strip() != "try:" or "#" in below:
        return ()  # a comment would go with it
    return (
        Edit(place(node), end(node), opening),
        Edit((follower.lineno, 0), (follower.lineno + 1, 0), ""),
        Edit(last, end(follower), ""),
    )


RULE = Rule(
    code="CTX303",
    name="scope-without-with",
    says="a scope is canceled in a `finally` where a `with` block would do",
    why="""\
`with` releases the scope on every way out, and makes it current: in a task only an
entered scope interrupts what is awaited inside. Go's `defer cancel()` is spelled
`with` here.""",
    bad="""\
from tether import Context

def total(ctx: Context) -> int:
    work = ctx.with_timeout(2.0)
    try:
        return add(work)
    finally:
        work.cancel()
""",
    good="""\
from tether import Context

def total(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work)
""",
    check=check,
    fixable=True,
)
