"""CTX601: the key of a value is not a Key."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule


def check(file: File) -> Iterator[Found]:
    """Report strings, numbers and types as keys of values."""
    for last in ("with_value", "value"):
        for call, function in file.module.calls.get(last, ()):
            func = call.func
            if not isinstance(func, ast.Attribute) or not call.args:
                continue
            if not file.names.is_context(func.value, function):
                continue
            key = call.args[0]
            builtin = isinstance(key, ast.Name) and key.id in {"str", "int", "object"}
            if isinstance(key, (ast.Constant, ast.JoinedStr, ast.Tuple)) or builtin:
                yield Found(
                    key,
                    "a value's key is a tether.Key, which cannot collide: make one for"
                    ' the module, `NAME: Key[str] = Key("name")`',
                )


RULE = Rule(
    code="CTX601",
    name="plain-key",
    says="a string, a number or a type is used as the key of a value",
    why="""\
Two packages that both use "user" overwrite each other. A `Key` compares by identity
and carries the type of its value. (tether refuses others when the line runs; this
finds the lines that have not run yet.)""",
    bad="""\
from tether import Context

def login(ctx: Context, user: str) -> None:
    page(ctx.with_value("user", user))
""",
    good="""\
from tether import Context, Key

USER: Key[str] = Key("user")

def login(ctx: Context, user: str) -> None:
    page(ctx.with_value(USER, user))
""",
    check=check,
)
