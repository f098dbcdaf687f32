"""CTX306: a scope leaves its block, where it is over."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._libraries import DERIVE_CONTEXT, DERIVE_SCOPE, SCOPE
from .._shapes import gives


def check(file: File) -> Iterator[Found]:
    """Report scopes that are returned, stored, or used behind their block."""
    for node, function in file.module.of(ast.With, ast.AsyncWith):
        assert isinstance(node, (ast.With, ast.AsyncWith))
        for item in node.items:
            name = item.optional_vars
            if not isinstance(name, ast.Name):
                continue
            if file.names.kind(item.context_expr, function) != SCOPE:
                continue
            yield from _inside(node, name.id)
            if _is_only(function, name.id):
                yield from _behind(file, node, function, name.id)


def _inside(node: ast.With | ast.AsyncWith, name: str) -> Iterator[Found]:
    # A lifespan: the block is open for as long as others use what is stored in it.
    lasts = any(isinstance(part, (ast.Yield, ast.YieldFrom)) for part in ast.walk(node))
    for part in ast.walk(node):
        if isinstance(part, ast.Return) and part.value is not None:
            if gives(part.value, name):
                yield Found(
                    part,
                    f"{name} is over as soon as it is returned: its block has been"
                    " left; let the caller open the block",
                )
        elif (
            isinstance(part, ast.Assign)
            and not lasts
            and gives(part.value, name)
            and any(isinstance(target, ast.Attribute) for target in part.targets)
        ):
            yield Found(part, f"{name} is stored, and is over when its block is left")


def _behind(
    file: File, node: ast.With | ast.AsyncWith, function: Function, name: str
) -> Iterator[Found]:
    """Uses of the name in what follows the block, other than looking at its end."""
    last = node.end_lineno or node.lineno
    for call in file.calls_in(function):
        if call.lineno <= last:
            continue
        if _is_in_loop_with(file, call, node):
            continue
        func = call.func
        derives = (
            isinstance(func, ast.Attribute)
            and func.attr in DERIVE_SCOPE | DERIVE_CONTEXT
            and isinstance(func.value, ast.Name)
            and func.value.id == name
        )
        first = call.args[0] if call.args else None
        passes = isinstance(first, ast.Name) and first.id == name
        last_part = func.attr if isinstance(func, ast.Attribute) else ""
        if isinstance(func, ast.Name) and func.id in {"print", "repr", "str", "id"}:
            continue
        if derives or (passes and not last_part.startswith(("assert", "log", "ref"))):
            yield Found(call, f"{name} is over here: its block ended at line {last}")


def _is_in_loop_with(
    file: File, call: ast.Call, node: ast.With | ast.AsyncWith
) -> bool:
    """Whether both stand in branches that exclude each other: not followed."""
    mine = {id(around) for around in file.module.ancestors(call)}
    return any(
        isinstance(around, (ast.If, ast.Match)) and id(around) in mine
        for around in file.module.ancestors(node)
    )


def _is_only(function: Function, name: str) -> bool:
    return len(function.bindings.get(name, ())) == 1


RULE = Rule(
    code="CTX306",
    name="escaped-scope",
    says="a scope is returned, stored or used where its block has been left",
    why="""\
Leaving the block ends the scope: whoever gets it afterwards holds a context that is
over, and everything under it fails at once with "the with block that owned this
context has ended".""",
    bad="""\
from tether import Context, Scope

def limited(ctx: Context) -> Scope:
    with ctx.with_timeout(2.0) as work:
        return work
""",
    good="""\
from tether import Context, Scope

def limited(ctx: Context) -> Scope:
    return ctx.with_timeout(2.0)  # the caller enters it
""",
    check=check,
)
