"""CTX602: a key is made at each call."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function


def check(file: File) -> Iterator[Found]:
    """Report `Key(...)` inside of functions."""
    for call, function, callee in file.calls("Key"):
        if callee != "tether.Key" or isinstance(function.node, ast.Module):
            continue
        statement = file.module.statement(call)
        if isinstance(statement, ast.Return) and statement.value is call:
            continue  # a factory of keys
        targets = [
            target
            for target in getattr(statement, "targets", [])
            if isinstance(target, ast.Attribute)
            or (isinstance(target, ast.Name) and target.id in function.hidden)
        ]
        if not targets and not _is_read_here(statement, function):
            yield Found(
                call,
                "this key is a new one at each call, so nobody finds its value:"
                " make it a constant of the module",
            )


def _is_read_here(statement: ast.stmt, function: Function) -> bool:
    """Whether the key has a name, and its value is read in the same function."""
    names = {
        target.id
        for target in getattr(
            statement, "targets", [getattr(statement, "target", None)]
        )
        if isinstance(target, ast.Name)
    }
    return any(
        isinstance(part, ast.Call)
        and isinstance(part.func, ast.Attribute)
        and part.func.attr == "value"
        and any(isinstance(arg, ast.Name) and arg.id in names for arg in part.args)
        for part in ast.walk(function.node)
    )


RULE = Rule(
    code="CTX602",
    name="key-made-anew",
    says="a key is made inside a function",
    why="""\
Keys compare by identity. One that is made when the function runs equals no other,
not even itself at the next call: the value is stored and never found.""",
    bad="""\
from tether import Context, Key

def user(ctx: Context) -> object:
    return ctx.value(Key("user"))
""",
    good="""\
from tether import Context, Key

USER: Key[str] = Key("user")

def user(ctx: Context) -> object:
    return ctx.value(USER)
""",
    check=check,
)
