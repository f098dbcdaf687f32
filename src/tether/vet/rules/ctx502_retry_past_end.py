"""CTX502: a retry loop takes the end of its context for a failure."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._shapes import types_of

_CATCHES = frozenset(
    {"", "BaseException", "Exception", "TimeoutError", "ContextError", "Canceled"}
    | {"DeadlineExceeded"}
)
_OURS = frozenset({"ContextError", "Canceled", "DeadlineExceeded"})
_LOOKS = frozenset(
    {"check", "require", "err", "done", "sleep", "sleep_async", "wait", "wait_async"}
    | {"remaining", "poll"}
)


def check(file: File) -> Iterator[Found]:
    """Report loops that catch the end of the context and try again."""
    for node, function in file.module.of(ast.Try):
        assert isinstance(node, ast.Try)
        if function.is_async:
            continue  # there the end of an outer block passes `except Exception`
        ctx = file.given(function)
        loop = next(
            (
                around
                for around in file.module.ancestors(node)
                if isinstance(around, (ast.While, ast.For, ast.AsyncFor))
            ),
            None,
        )
        names = file.contexts(function)
        if not ctx or loop is None:
            continue
        if not any(file.mentions(statement) & names for statement in node.body):
            continue
        for handler in node.handlers:
            types = set(types_of(handler))
            if not types & _CATCHES:
                continue
            if _leaves(handler):
                if types & (_OURS | {"", "BaseException", "Exception"}):
                    break  # those below never see the end
                continue
            if _looks(loop, node, names):
                break
            what = next(iter(sorted(types & _CATCHES))) or "everything"
            yield Found(
                handler,
                f"this catches {what}, the end of {ctx} with it, and tries again:"
                f" call {ctx}.check() first, or let ContextError pass",
            )
            break


def _leaves(handler: ast.ExceptHandler) -> bool:
    return any(
        isinstance(part, (ast.Raise, ast.Return, ast.Break))
        for part in ast.walk(handler)
    )


def _looks(loop: ast.AST, node: ast.Try, names: frozenset[str]) -> bool:
    """Whether the loop asks the context outside of what the handlers cover."""
    covered = {id(part) for statement in node.body for part in ast.walk(statement)}
    return any(
        isinstance(part, ast.Attribute)
        and part.attr in _LOOKS
        and isinstance(part.value, ast.Name)
        and part.value.id in names
        and id(part) not in covered
        for part in ast.walk(loop)
    )


RULE = Rule(
    code="CTX502",
    name="retry-past-end",
    says="a retry loop catches the end of its context and tries again",
    why="""\
In a thread, `Canceled` and `DeadlineExceeded` are exceptions like others: `except
Exception` in a retry loop catches them, and the loop spins, every attempt failing at
once. An attempt that was canceled is not an error to be retried. (A task is
interrupted by something that `except Exception` does not catch.)""",
    bad="""\
from tether import Context

def deliver(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except Exception:
            log.warning("once more")
""",
    good="""\
from tether import Context

def deliver(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except Exception:
            log.warning("once more")
        ctx.sleep(0.05)
""",
    check=check,
)
