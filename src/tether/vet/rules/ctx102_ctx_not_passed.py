"""CTX102: the callee takes a context, the caller has one and does not pass it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, place
from .._function import Function
from .._ours import TAKES_CTX
from .._project import Facts

_OURS = Facts(0, False, False, False, False, ())


def check(file: File) -> Iterator[Found]:
    """Report calls that leave out the context, first of the parameters."""
    for call, function, callee in file.every_call():
        if not callee:
            continue
        ctx = file.given(function)
        if not ctx or _is_other_root(call, function):
            continue
        facts = _OURS if callee in TAKES_CTX else file.facts(callee)
        if facts is None or facts.takes != 0 or _passes(file, call, function):
            continue
        name = callee.rpartition(".")[2]
        within = next((n for _, n in file.scopes_around(call, function) if n), ctx)
        yield Found(
            call,
            f"{name}() takes a context and gets none, so {within} does not end it:"
            f" pass {within} first",
            _insert(call, within) if not facts.optional else (),
        )


def _passes(file: File, call: ast.Call, function: Function) -> bool:
    """Whether any argument may be a context."""
    if any(isinstance(arg, ast.Starred) for arg in call.args):
        return True
    if any(given.arg in {None, "ctx"} for given in call.keywords):
        return True
    if any(_is_none(arg) for arg in call.args[:1]):
        return True  # CTX104 says so
    names = file.contexts(function)
    for arg in (*call.args, *(given.value for given in call.keywords)):
        if file.mentions(arg) & names or file.names.is_context(arg, function):
            return True
    # What is not understood may be one: `self.ctx`, `request.ctx`, `make_ctx()`.
    first = call.args[0] if call.args else None
    return isinstance(first, (ast.Call, ast.Attribute, ast.Name)) and (
        "ctx" in ast.unparse(first).lower() or "context" in ast.unparse(first).lower()
    )


def _is_other_root(call: ast.Call, function: Function) -> bool:
    """A decorator, or a default value: it runs before there is a context."""
    node = function.node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return any(call in set(ast.walk(one)) for one in node.decorator_list)
    return False


def _insert(call: ast.Call, ctx: str) -> tuple[Edit, ...]:
    if call.args or call.keywords:
        first = min(place(arg) for arg in (*call.args, *(k for k in call.keywords)))
        return (Edit(first, first, f"{ctx}, "),)
    assert call.end_lineno is not None
    assert call.end_col_offset is not None
    before = (call.end_lineno, call.end_col_offset - 1)
    return (Edit(before, before, ctx),)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


RULE = Rule(
    code="CTX102",
    name="ctx-not-passed",
    says="a function that takes a context is called without the one at hand",
    why="""\
The chain of contexts is as long as its weakest call. What is called without the
context has no deadline, and nobody can end it. The callee may stand in another file
of the project.""",
    bad="""\
from tether import Context

def charge(ctx: Context, amount: int) -> None: ...

def pay(ctx: Context, amount: int) -> None:
    charge(amount)
""",
    good="""\
from tether import Context

def charge(ctx: Context, amount: int) -> None: ...

def pay(ctx: Context, amount: int) -> None:
    charge(ctx, amount)
""",
    check=check,
    fixable=True,
)
