"""CTX205: a time limit around work in a thread ends the waiting, not the work."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._shapes import types_of

_LIMITS = frozenset({"asyncio.timeout", "asyncio.timeout_at", "async_timeout.timeout"})


def check(file: File) -> Iterator[Found]:
    """Report `to_thread` and `run_in_executor` under a time limit of asyncio."""
    for call, function, callee in file.calls(
        "to_thread", "run_in_executor", "run_in_threadpool", "async_add_executor_job"
    ):
        if not _is_thread(call, callee):
            continue
        if file.carries(call, function) or _is_limited(call):
            continue
        limit = _limit(file, call, function)
        if limit and not _is_ended(file, call):
            yield Found(
                call,
                f"{limit} ends the waiting, and the thread works on: let the work"
                " itself have the limit (pass it a context, or the driver's timeout)",
            )


_THREADS = frozenset(
    {"asyncio.to_thread", "starlette.concurrency.run_in_threadpool"}
    | {"fastapi.concurrency.run_in_threadpool"}
)
# `process.kill()`, `connection.cancel()`: the thread comes back then.
_ENDING = frozenset({"kill", "terminate", "cancel", "interrupt", "shutdown", "abort"})
_METHODS = frozenset({"run_in_executor", "async_add_executor_job"})


def _is_thread(call: ast.Call, callee: str) -> bool:
    if callee in _THREADS:
        return True
    func = call.func
    return isinstance(func, ast.Attribute) and func.attr in _METHODS


def _is_limited(call: ast.Call) -> bool:
    """Whether what runs in the thread has a limit of its own among its arguments."""
    words = [given.arg for given in call.keywords]
    text = [ast.unparse(arg) for arg in call.args]
    return any(w and "timeout" in w for w in words) or any("timeout" in t for t in text)


def _is_ended(file: File, call: ast.Call) -> bool:
    """Whether what the thread waits for is ended when the limit is reached."""
    return any(
        isinstance(part, ast.Attribute) and part.attr in _ENDING
        for around in file.module.ancestors(call)
        if isinstance(around, ast.Try)
        for handler in around.handlers
        if "TimeoutError" in types_of(handler)
        for part in ast.walk(handler)
    )


def _limit(file: File, call: ast.Call, function: Function) -> str:
    """The limit that a call stands under, as its author wrote it; "" without one."""
    parent = file.module.parents.get(call)
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return _limit_of(file, parent.targets[0].id, function)
    for around in file.module.ancestors(call):
        if isinstance(around, ast.Call):
            callee = file.names.callee(around, function)
            if callee == "asyncio.wait_for" and _waits_for(around):
                return "asyncio.wait_for()"
        elif isinstance(around, (ast.With, ast.AsyncWith)):
            for item in around.items:
                expression = item.context_expr
                if not isinstance(expression, ast.Call) or not expression.args:
                    continue
                callee = file.names.callee(expression, function)
                first = expression.args[0]
                none = isinstance(first, ast.Constant) and first.value is None
                if callee in _LIMITS and not none:
                    return f"{callee}()"
                func = expression.func
                if file.names.is_context(expression, function) and isinstance(
                    func, ast.Attribute
                ):
                    return f"{func.attr}()"
    return ""


def _limit_of(file: File, name: str, function: Function) -> str:
    """The same for a future that was given a name first."""
    for call, where, callee in file.calls("wait_for"):
        first = call.args[0] if call.args else None
        if where is not function or callee != "asyncio.wait_for":
            continue
        if isinstance(first, ast.Name) and first.id == name and _waits_for(call):
            return "asyncio.wait_for()"
    return ""


def _waits_for(call: ast.Call) -> bool:
    given = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "timeout")]
    return any(
        not (isinstance(one, ast.Constant) and one.value is None) for one in given
    )


RULE = Rule(
    code="CTX205",
    name="abandoned-thread",
    says="a time limit of asyncio stands around work in a thread",
    why="""\
A thread cannot be interrupted. When the limit is reached the handler answers, and
the query, the upload, the hash runs on in the pool; with enough of them the pool is
full of work that nobody waits for, and new requests wait for a place. Measured: a
handler that came back after 0.7 ms and left a query that ran 2.8 s more. Give the
limit to the work: a context, the driver's timeout, `subprocess.run(timeout=)`.""",
    bad="""\
import asyncio

async def handler(path: str) -> bytes:
    async with asyncio.timeout(0.5):
        return await asyncio.to_thread(render, path)
""",
    good="""\
import asyncio
from tether import Context

async def handler(ctx: Context, path: str) -> bytes:
    with ctx.with_timeout(0.5) as budget:
        return await asyncio.to_thread(render, budget, path)
""",
    check=check,
    everywhere=True,
)
