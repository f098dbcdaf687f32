"""CTX302: a scope that nobody can release."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._libraries import DERIVE_CONTEXT, DERIVE_SCOPE, SCOPE
from .._shapes import KEEPERS

# Time limits of others that do nothing unless they are entered.
_LIMITS = frozenset(
    {
        *("asyncio.timeout", "asyncio.timeout_at", "anyio.fail_after"),
        *("anyio.move_on_after", "trio.fail_after", "trio.fail_at"),
        *("trio.move_on_after", "trio.move_on_at", "async_timeout.timeout"),
    }
)


def check(file: File) -> Iterator[Found]:
    """Report derived contexts that are dropped, or passed without a name."""
    for call, _, callee in file.calls(
        *("timeout", "timeout_at", "fail_after", "fail_at"),
        *("move_on_after", "move_on_at"),
    ):
        if callee in _LIMITS and _is_dropped(file, call):
            yield Found(call, f"{callee}() has no effect: enter it with a with block")
    if not file.uses_tether:
        return
    for last in sorted(DERIVE_SCOPE | DERIVE_CONTEXT):
        for call, function in file.module.calls.get(last, ()):
            if not _is_derivation(file, call, function):
                continue
            if _is_dropped(file, call):
                yield Found(
                    call,
                    f"{last}() changes nothing in place: what it answers is dropped",
                )
            elif last in DERIVE_SCOPE and _is_argument(file, call, function):
                yield Found(
                    call,
                    "nobody can release this scope: give it a name in a with block"
                    " around the call",
                )


def _is_derivation(file: File, call: ast.Call, function: Function) -> bool:
    func = call.func
    return isinstance(func, ast.Attribute) and file.names.is_context(
        func.value, function
    )


def _is_dropped(file: File, call: ast.Call) -> bool:
    parent = file.module.parents.get(call)
    if isinstance(parent, ast.Expr):
        return True
    return isinstance(parent, ast.Assign) and all(
        isinstance(target, ast.Name) and target.id == "_" for target in parent.targets
    )


def _is_argument(file: File, call: ast.Call, function: Function) -> bool:
    """Whether it is passed, as it is, to a function that only uses a context."""
    parent = file.module.parents.get(call)
    if not isinstance(parent, ast.Call) or call not in parent.args[:1]:
        return False
    if isinstance(parent.func, ast.Attribute) and parent.func.attr in KEEPERS:
        return False
    callee = file.names.callee(parent, function)
    facts = file.facts(callee)
    if facts is None or facts.takes != 0 or facts.keeps:
        return False
    return file.names.kind(call, function) == SCOPE


RULE = Rule(
    code="CTX302",
    name="discarded-scope",
    says="a derived context is dropped, or passed on so that nobody can release it",
    why="""\
`ctx.with_timeout(2.0)` answers a new context and leaves `ctx` as it is. Dropped, it
has no effect; passed without a name, it is never released. The same holds for
`asyncio.timeout(2.0)` and the like without `with`.""",
    bad="""\
from tether import Context

def total(ctx: Context) -> int:
    ctx.with_timeout(2.0)
    return add(ctx)
""",
    good="""\
from tether import Context

def total(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work)
""",
    check=check,
    everywhere=True,
)
