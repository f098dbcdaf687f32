"""CTX104: None in the place of a context."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Edit, Found, Rule, end, place
from .._ours import TAKES_CTX


def check(file: File) -> Iterator[Found]:
    """Report None where a context is asked for, and as its default."""
    for call, function, callee in file.every_call():
        first = call.args[0] if call.args else None
        given = next((k.value for k in call.keywords if k.arg == "ctx"), first)
        if not callee or not isinstance(given, ast.Constant) or given.value is not None:
            continue
        facts = file.facts(callee)
        if callee in TAKES_CTX or (facts and facts.takes == 0 and not facts.optional):
            ctx = file.given(function)
            name = callee.rpartition(".")[2]
            yield Found(
                given,
                f"{name}() is given None as its context: pass {ctx or 'one'}",
                (Edit(place(given), end(given), ctx),) if ctx else (),
            )
    falls_back = {f for _, f, name in file.calls("current") if name == "tether.current"}
    for function in file.module.functions:
        node = function.node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if node.name.startswith("_") or function.owner is not None:
            continue  # an object may have a context of its own to fall back on
        if function in falls_back:
            continue  # `(ctx or current())`
        contexts = file.names.context_params(function)
        positional = [*node.args.posonlyargs, *node.args.args]
        for arg, default in zip(
            positional[len(positional) - len(node.args.defaults) :],
            node.args.defaults,
        ):
            if arg in contexts and isinstance(default, ast.Constant):
                yield Found(
                    default,
                    f"{node.name}() can be called without its context, and then nothing"
                    f" ends it: take {arg.arg} without a default",
                )


RULE = Rule(
    code="CTX104",
    name="none-as-ctx",
    says="None is passed, or is the default, where a context belongs",
    why="""\
A context that may be None is forgotten somewhere, and the type checker is silent.
Who really has none yet says so with `todo()`, which can be searched for.""",
    bad="""\
from tether import Context

def charge(ctx: Context | None = None, amount: int = 0) -> None: ...
""",
    good="""\
from tether import Context

def charge(ctx: Context, amount: int) -> None: ...
""",
    check=check,
    fixable=True,
)
