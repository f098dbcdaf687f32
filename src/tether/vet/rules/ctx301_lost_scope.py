"""CTX301: a scope that is not released on every way out of its function."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._flow import Step
from .._libraries import SCOPE
from .._shapes import cancels, enters, is_handed_over


def check(file: File) -> Iterator[Found]:
    """Follow each scope in a local variable to all exits, exceptions included."""
    for node, function in file.module.of(ast.Assign, ast.AnnAssign):
        assert isinstance(node, (ast.Assign, ast.AnnAssign))
        if not isinstance(node.value, ast.Call) or not function.body:
            continue
        if file.names.kind(node.value, function) != SCOPE:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        target = targets[0]
        if len(targets) > 1 or not isinstance(target, ast.Name) or target.id == "_":
            continue
        if isinstance(file.module.parents.get(node), ast.ClassDef):
            continue
        name = target.id
        if isinstance(function.node, ast.Module) or is_handed_over(
            file, name, function
        ):
            continue

        above = _above(node.value)

        def releases(step: Step, name: str = name, above: str = above) -> bool:
            if any(cancels(p, name) or enters(p, name) for p in step.parts):
                return True
            if any(cancels(part, above) for part in step.parts):
                return True  # with its parent it ends, too
            return _is_guarded(step.node, name)

        lost = file.flow(function).leak(node, releases)
        if lost is None:
            continue
        last, out = lost
        line = getattr(last.node, "lineno", node.lineno)
        if out is file.flow(function).left:
            how = (
                "when the function returns"
                if line == node.lineno
                else (f"on the way out at line {line}")
            )
        else:
            how = f"when line {line} raises"
        yield Found(
            node.value,
            f"the scope {name} is not released {how}: use it as"
            f" `with {_shorten(node.value)} as {name}:`",
        )


def _above(call: ast.Call) -> str:
    """`ctx` of `ctx.with_timeout(...)`; "" for anything else."""
    func = call.func
    root = func.value if isinstance(func, ast.Attribute) else None
    return root.id if isinstance(root, ast.Name) else ""


def _is_guarded(node: ast.AST | None, name: str) -> bool:
    """`if scope is not None: scope.cancel()`, which is true where there is one."""
    return (
        isinstance(node, ast.If)
        and any(isinstance(p, ast.Name) and p.id == name for p in ast.walk(node.test))
        and any(cancels(statement, name) for statement in node.body)
    )


def _shorten(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else f"{text[:36]} ..."


RULE = Rule(
    code="CTX301",
    name="lost-scope",
    says="a scope is not released on every way out of its function",
    why="""\
A scope that is never left keeps its timer and its memory until its parent ends. Ways
out include exceptions: a `scope.cancel()` at the end of the function is not reached
when a line before it raises. A `with` block cannot forget it. Scopes that are
returned, stored or handed over are their new owner's business.""",
    bad="""\
from tether import Context

def total(ctx: Context, rows: list[int]) -> int:
    work = ctx.with_timeout(2.0)
    result = add(work, rows)
    work.cancel()
    return result
""",
    good="""\
from tether import Context

def total(ctx: Context, rows: list[int]) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work, rows)
""",
    check=check,
)
