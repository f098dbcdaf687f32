"""CTX304: a context is derived from itself in a loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._libraries import DERIVE_CONTEXT, DERIVE_SCOPE


def check(file: File) -> Iterator[Found]:
    """Report `ctx = ctx.with_...()` that runs again and again."""
    for last in sorted(DERIVE_SCOPE | DERIVE_CONTEXT):
        for call, function in file.module.calls.get(last, ()):
            func = call.func
            parent = file.module.parents.get(call)
            if not isinstance(func, ast.Attribute) or not isinstance(
                parent, ast.Assign
            ):
                continue
            root = func.value
            if not isinstance(root, ast.Name) or not file.names.is_context(
                root, function
            ):
                continue
            if root.id not in {getattr(t, "id", "") for t in parent.targets}:
                continue
            if _is_answered(function, root.id):
                continue  # it is what the function makes: values from a table
            if _is_repeated(file, parent, root.id):
                yield Found(
                    parent,
                    f"{root.id} grows by one layer with each round of the loop: give"
                    " what is derived a name of its own",
                )


def _is_answered(function: Function, name: str) -> bool:
    return any(
        isinstance(part, ast.Return)
        and isinstance(part.value, ast.Name)
        and part.value.id == name
        for part in ast.walk(function.node)
    )


def _is_repeated(file: File, node: ast.stmt, name: str) -> bool:
    """Whether a loop comes by again, and does not set the name anew by itself."""
    for around in file.module.ancestors(node):
        if isinstance(around, (ast.For, ast.AsyncFor, ast.While)):
            if not isinstance(around, ast.While) and name in {
                part.id
                for part in ast.walk(around.target)
                if isinstance(part, ast.Name)
            }:
                return False
            fresh = [
                other
                for other in ast.walk(around)
                if isinstance(other, ast.Assign)
                and other is not node
                and name in {getattr(t, "id", "") for t in other.targets}
            ]
            leaves = [
                other
                for other in around.body
                if isinstance(other, (ast.Return, ast.Break, ast.Raise))
            ]
            return not fresh and not leaves
    return False


RULE = Rule(
    code="CTX304",
    name="ctx-grows",
    says="a context is derived from itself in a loop",
    why="""\
Each round adds a layer, and its timer if it has one: a consumer that has seen a
million messages walks a million layers for each look, and every deadline is that of
the first message.""",
    bad="""\
from tether import Context, Key

ITEM: Key[int] = Key("item")

def consume(ctx: Context, items: list[int]) -> None:
    for item in items:
        ctx = ctx.with_value(ITEM, item)
        handle(ctx)
""",
    good="""\
from tether import Context, Key

ITEM: Key[int] = Key("item")

def consume(ctx: Context, items: list[int]) -> None:
    for item in items:
        handle(ctx.with_value(ITEM, item))
""",
    check=check,
)
