"""CTX604: a value that can be changed by whoever reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule

_MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def check(file: File) -> Iterator[Found]:
    """Report lists, dicts and sets as values."""
    for call, function in file.module.calls.get("with_value", ()):
        func = call.func
        if not isinstance(func, ast.Attribute) or len(call.args) != 2:
            continue
        if not file.names.is_context(func.value, function):
            continue
        value = call.args[1]
        made = isinstance(value, ast.Call) and getattr(value.func, "id", "") in {
            *("list", "dict", "set", "bytearray", "defaultdict", "deque"),
        }
        if isinstance(value, _MUTABLE) or made:
            yield Found(value, "every task below shares this value and may change it")


RULE = Rule(
    code="CTX604",
    name="mutable-value",
    says="a list, a dict or a set is stored as a value",
    why="""\
A context is shared by tasks and threads without a lock. A value that can be changed
turns into shared state under a quiet name; results are handed back, not written into
the context. Off by default: some collect on purpose.""",
    bad="""\
from tether import Context, Key

SEEN: Key[list[str]] = Key("seen")

def handle(ctx: Context) -> None:
    page(ctx.with_value(SEEN, []))
""",
    good="""\
from tether import Context, Key

ROLES: Key[frozenset[str]] = Key("roles")

def handle(ctx: Context) -> None:
    page(ctx.with_value(ROLES, frozenset({"reader"})))
""",
    check=check,
    default=False,
)
