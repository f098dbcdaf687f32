"""CTX901: the debug page is reachable from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule

_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - looked for, not bound


def check(file: File) -> Iterator[Found]:
    """Report pages of `tether.debug` on all interfaces, or mounted on the app."""
    if "tether.debug" not in file.module.text:
        return
    for call, function, callee in file.every_call():
        values = [*call.args, *(given.value for given in call.keywords)]
        if callee.startswith("tether.debug"):
            for value in values:
                if isinstance(value, ast.Constant) and value.value in _EVERYWHERE:
                    yield Found(
                        value,
                        "the debug page shows what every request waits for: bind it to"
                        " 127.0.0.1, or to an internal interface",
                    )
            continue
        func = call.func
        if isinstance(func, ast.Attribute) and func.attr in {"mount", "Mount"}:
            for value in values:
                inner = value.func if isinstance(value, ast.Call) else value
                if file.names.resolve(inner, function).startswith("tether.debug"):
                    yield Found(
                        call,
                        "mounted on the application, the debug page is as public as"
                        " that: serve it on a port of its own",
                    )


RULE = Rule(
    code="CTX901",
    name="open-debug-page",
    says="the debug page is mounted on the application, or bound to all interfaces",
    why="""\
The page shows paths, users, labels and stacks of every request in flight. It belongs
on an internal port.""",
    bad="""\
import tether.debug

tether.debug.serve("0.0.0.0", 6060)
""",
    good="""\
import tether.debug

tether.debug.serve("127.0.0.1", 6060)
""",
    check=check,
)
