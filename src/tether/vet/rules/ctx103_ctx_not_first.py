"""CTX103: the context is not the first parameter."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._libraries import SCOPE


def check(file: File) -> Iterator[Found]:
    """Report functions that take their context somewhere behind."""
    if file.module.is_private:
        return  # nobody else calls what is in it
    for function in file.module.functions:
        node = function.node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if node.name.startswith("_") or not _is_plain(node):
            continue
        if function.outer is not None and function.outer.outer is not None:
            continue  # an inner function is its author's business
        # A Scope is a thing that one owns; where it stands is no convention.
        contexts = [
            arg
            for arg in file.names.context_params(function)
            if file.names.annotation(arg.annotation, function) != SCOPE
        ]
        positional = [*node.args.posonlyargs, *node.args.args]
        if not contexts or contexts[0] not in positional:
            continue
        if function.params[0] is not contexts[0]:
            yield Found(
                contexts[0],
                f"{node.name}() takes its context behind other parameters:"
                f" make {contexts[0].arg} the first, so that calls look alike and"
                " groups can fill it in",
            )


def _is_plain(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the order of the parameters is the author's: no framework calls it."""
    plain = {"staticmethod", "classmethod", "override", "abstractmethod", "final"}
    return all(
        isinstance(one, ast.Name) and one.id in plain for one in node.decorator_list
    )


RULE = Rule(
    code="CTX103",
    name="ctx-not-first",
    says="a function takes its context, but not as the first parameter",
    why="""\
A context stands first, as in Go: a reader sees at the call whether the callee can be
ended, and `group.go(fn, ...)` and `to_thread(ctx, fn, ...)` fill it in there.""",
    bad="""\
from tether import Context

def charge(amount: int, ctx: Context) -> None: ...
""",
    good="""\
from tether import Context

def charge(ctx: Context, amount: int) -> None: ...
""",
    check=check,
)
