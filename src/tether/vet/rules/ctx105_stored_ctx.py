"""CTX105: a context is kept on an object that outlives the call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Class, Function
from .._libraries import CONTEXT
from .._names import dotted

# Objects that live as long as the work itself.
_SHORT_LIVED = frozenset(
    {
        *("request", "handle", "scope", "group", "guard", "job", "call", "task", "run"),
        *("context", "ctx", "stream", "transaction", "session", "worker", "attempt"),
        *("event", "exception", "error", "exceeded", "canceled", "message", "state"),
        *("iterator", "cursor", "runner", "interrupting", "unit", "operation"),
    }
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def check(file: File) -> Iterator[Found]:
    """Report `self.ctx = ctx` in public classes that serve more than one call."""
    for node, function in file.module.of(ast.Assign, ast.AnnAssign):
        assert isinstance(node, (ast.Assign, ast.AnnAssign))
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        owner = next((f.owner for f in function.chain() if f.owner), None)
        if owner is None or file.module.is_private or _may_keep(owner):
            continue
        if not isinstance(node.value, ast.Name):
            continue
        if not _is_given(file, node.value, function):
            continue
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == "self"
            ):
                yield Found(
                    node,
                    f"{owner.name} keeps the context of one call for all later ones:"
                    f" take it in each method instead of self.{target.attr}",
                )


def _is_given(file: File, node: ast.Name, function: Function) -> bool:
    """Whether it is the caller's context; what one derives oneself one may keep."""
    given = {arg.arg for arg in file.names.context_params(function)}
    return node.id in given and file.names.kind(node, function) == CONTEXT


def _may_keep(owner: Class) -> bool:
    if owner.name.rpartition(".")[2].startswith("_"):
        return True  # a part of something, whose life its author knows
    names = [dotted(base) for base in owner.node.bases]
    words = {w.lower() for name in [owner.name, *names] for w in _WORDS.findall(name)}
    if words & _SHORT_LIVED:
        return True
    blocks = {"__enter__", "__aenter__", "__iter__", "__aiter__", "__await__"}
    return bool(blocks & set(owner.attributes))


RULE = Rule(
    code="CTX105",
    name="stored-ctx",
    says="a context is stored on an object",
    why="""\
A stored context belongs to the call that happened to create the object: when that
ends, every later call through the object ends with it, or has the deadline of a
stranger. Objects that are one piece of work (a request, a job, a context manager)
may keep it.""",
    bad="""\
from tether import Context

class Repository:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
""",
    good="""\
from tether import Context

class Repository:
    def find(self, ctx: Context, user: int) -> None: ...
""",
    check=check,
)
