"""CTX703: work is started and nobody holds its end."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._names import dotted

_SUBMITS = frozenset(
    {
        "concurrent.futures.ThreadPoolExecutor.submit",
        "concurrent.futures.ProcessPoolExecutor.submit",
        "asyncio.run_coroutine_threadsafe",
    }
)


_DEEP = 2  # functions that hand over to another one
# What hardly fails, called on an object of its own.
_PLAIN = frozenset({"set", "close", "cancel", "set_result", "notify_all", "put_nowait"})


def check(file: File) -> Iterator[Found]:
    """Report results of `create_task` and `submit` that are dropped."""
    for call, function, callee in file.calls("create_task"):
        if not isinstance(file.module.parents.get(call), ast.Expr):
            continue
        if function.name.endswith("__del__"):
            continue  # there is nobody left who could keep it
        if _is_loop(file, call, function, callee):
            yield Found(
                call,
                "the loop holds tasks weakly: this one may be collected in the middle,"
                " and its error is seen late or never; keep it, or start it in a group",
            )
    for call, function, callee in file.calls("submit", "run_coroutine_threadsafe"):
        if callee not in _SUBMITS:
            continue
        if not isinstance(file.module.parents.get(call), ast.Expr):
            continue
        if _handles_errors(file, call) or _is_logging(function):
            continue
        if file.uses_tether and file.mentions(call) & file.contexts(function):
            continue  # CTX701
        yield Found(
            call,
            "nobody looks at this future, so an error of the work is lost without a"
            " word: keep it and ask for its result",
        )


def _is_loop(file: File, call: ast.Call, function: Function, callee: str) -> bool:
    """Whether a loop's method is meant, and ruff's RUF006 does not see it."""
    func = call.func
    if not isinstance(func, ast.Attribute):
        return False
    if isinstance(func.value, ast.Name):
        bound = file.names.bindings(func.value.id, function)
        if any(how == "value" for how, _ in bound):
            return False  # RUF006 follows variables
    if callee == "asyncio.AbstractEventLoop.create_task":
        return True
    if callee:
        return False
    last = dotted(func.value).rpartition(".")[2]
    return last in {"loop", "_loop", "event_loop", "_event_loop", "io_loop"}


def _handles_errors(file: File, call: ast.Call) -> bool:
    """Whether the work is a function of this file that catches all it may raise."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.Call):
        first = first.func
        if isinstance(first, ast.Attribute) and first.attr in {"put", "set", "wait"}:
            return True  # of a queue or an event: nothing in it fails
    return first is not None and _copes(file, _last(first), _DEEP)


def _copes(file: File, name: str, deep: int) -> bool:
    """Whether a function of this file fails in no way, or one that it hands over to."""
    for other in file.module.functions:
        if not name or other.name.rpartition(".")[2] != name:
            continue
        if _is_plain(other) or any(
            isinstance(statement, ast.Try)
            and any(_is_broad(handler) for handler in statement.handlers)
            for outer in other.body
            for statement in ast.walk(outer)
        ):
            return True
        calls = [_called(statement) for statement in _body(other)]
        return len(calls) == 1 and deep > 0 and _copes(file, calls[0], deep - 1)
    return False


def _called(statement: ast.stmt) -> str:
    """The last part of what a statement calls, and does nothing else; or ""."""
    value = getattr(statement, "value", None)
    if isinstance(value, ast.Await):
        value = value.value
    return _last(value.func) if isinstance(value, ast.Call) else ""


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _body(function: Function) -> list[ast.stmt]:
    """The statements of a function, without its docstring."""
    first, *rest = function.body or [ast.Pass()]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return rest if is_text else [first, *rest]


def _is_plain(function: Function) -> bool:
    """Whether it only sets or closes something: `self.event.set()`."""
    body = _body(function)
    return bool(body) and all(
        isinstance(one, ast.Expr)
        and isinstance(one.value, ast.Call)
        and isinstance(one.value.func, ast.Attribute)
        and one.value.func.attr in _PLAIN
        for one in body
    )


def _is_logging(function: Function) -> bool:
    """Whether it is a handler of records, whose `emit` reports its own errors."""
    if function.owner is None or not function.name.endswith(".emit"):
        return False
    return any("Handler" in dotted(base) for base in function.owner.node.bases)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return dotted(handler.type) in {"Exception", "BaseException"}


RULE = Rule(
    code="CTX703",
    name="dropped-work",
    says="the task or the future of started work is dropped",
    why="""\
An error in it is lost without a word, nobody can wait for it at shutdown, and a task
that nobody holds may be collected while it runs. Looks at loops that ruff's RUF006
does not see (`self.loop.create_task`), and at futures of executors and threads.""",
    bad="""\
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(4)

def upload(path: str) -> None:
    pool.submit(send, path)
""",
    good="""\
from concurrent.futures import Future, ThreadPoolExecutor

pool = ThreadPoolExecutor(4)

def upload(path: str) -> Future[None]:
    return pool.submit(send, path)
""",
    check=check,
    everywhere=True,
)
