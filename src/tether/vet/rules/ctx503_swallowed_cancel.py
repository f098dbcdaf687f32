"""CTX503: a task that was canceled goes on waiting."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._flow import Step
from .._function import Function
from .._names import dotted
from .._shapes import awaits, types_of

_CANCEL = frozenset({"CancelledError", "Cancelled"})  # spelling: theirs
# What a handler reads when it wants to know whose end it is.
_ASKS = frozenset(
    {
        *("uncancel", "cancel", "done", "cancel_called", "set_exception", "is_set"),
        *("cancelling", "cancelled"),  # spelling: theirs
    }
)
_ALL = frozenset({"", "BaseException"})
_CLEANUP = re.compile(
    r"close|clean|stop|shut|disconnect|teardown|finali|release|exit|abort|terminate"
    r"|wait_closed|drain|gather|cancel|unsubscribe|unregister|delete|remove|rollback"
    r"|kill|flush|end|leave|dispose|quit|kick|send_error|fail|error|destroy|reset",
    re.IGNORECASE,
)

_ENDING = re.compile(r"stop|close|shut_?down|exit|clean|tear_?down|disconnect|cancel")
# Functions that look at an exception and never raise it.
_LOGS = frozenset(
    {
        *("debug", "info", "warning", "warn", "error", "exception", "critical", "log"),
        *("print", "str", "repr", "type", "isinstance", "format_exception"),
    }
)


def check(file: File) -> Iterator[Found]:
    """Report handlers that catch the cancellation and lead to another wait."""
    for node, function in file.module.of(ast.Try):
        assert isinstance(node, ast.Try)
        if not function.is_async or not any(awaits(one) for one in node.body):
            continue
        if _ENDING.search(function.name.rpartition(".")[2]):
            continue
        if _waits_for_child(file, node, function) or _is_cleanup(file, node):
            continue
        for handler in node.handlers:
            types = set(types_of(handler))
            named = bool(types & _CANCEL)
            if not named and not types & _ALL:
                continue
            if named and not _is_cancel(file, handler, function):
                break
            if _deals_with_it(handler) or _is_told(file, handler, function):
                break
            own = {id(part) for part in ast.walk(handler)}

            def waits(step: Step, own: set[int] = own) -> bool:
                return id(step.node) not in own and _is_wait(file, step)

            found = file.flow(function).reaches(handler, waits)
            if found is not None and found.node is not None:
                line = getattr(found.node, "lineno", handler.lineno)
                what = "the cancellation" if named else "everything, cancellation too,"
                yield Found(
                    handler,
                    f"this catches {what} and the task goes on to wait at line {line}:"
                    " whoever cancels it waits for good; raise it again",
                )
            break


def _is_cancel(file: File, handler: ast.ExceptHandler, function: Function) -> bool:
    """Whether asyncio's is meant; the one of concurrent.futures is a result."""
    node = handler.type
    many = node.elts if isinstance(node, ast.Tuple) else [node]
    names = [file.names.resolve(one, function) for one in many if one is not None]
    return any(
        name.startswith(("asyncio.", "trio.", "anyio."))
        and name.rpartition(".")[2] in _CANCEL
        for name in names
    )


def _deals_with_it(handler: ast.ExceptHandler) -> bool:
    """Whether it raises, remembers the end in a variable, or asks whose it is."""
    for part in ast.walk(handler):
        if isinstance(part, (ast.Raise, ast.Assign)):
            return True
        if isinstance(part, ast.Call) and _hands_on(part, handler.name):
            return True
        if isinstance(part, ast.Attribute) and part.attr in _ASKS:
            return True
        if isinstance(part, ast.If) and any(
            isinstance(inner, ast.Return) for inner in ast.walk(part)
        ):
            return True  # `if stopping: return`
    return False


def _is_told(file: File, node: ast.AST, function: Function) -> bool:
    """Whether who cancels it also sets the flag that its loop looks at."""
    flags = {
        part.attr if isinstance(part, ast.Attribute) else part.id
        for around in file.module.ancestors(node)
        if isinstance(around, ast.While)
        for part in ast.walk(around.test)
        if isinstance(part, (ast.Attribute, ast.Name))
    }
    return bool(flags) and any(
        flags & _set_in(where)
        for _, where in file.module.calls.get("cancel", ())
        if where is not function
    )


def _set_in(function: Function) -> set[str]:
    """The attributes and names that a function assigns a constant to."""
    return {
        target.attr if isinstance(target, ast.Attribute) else target.id
        for part in ast.walk(function.node)
        if isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant)
        for target in part.targets
        if isinstance(target, (ast.Attribute, ast.Name))
    }


def _hands_on(call: ast.Call, name: str | None) -> bool:
    """Whether the exception goes to a function that may raise it; a logger does not."""
    if not any(isinstance(arg, ast.Name) and arg.id == name for arg in call.args):
        return False
    func = call.func
    last = func.attr if isinstance(func, ast.Attribute) else dotted(func)
    return last not in _LOGS


def _waits_for_child(file: File, node: ast.Try, function: Function) -> bool:
    """Whether it is another task whose end is caught here.

    It was canceled above, or what is awaited is a task or a future and not a call: then
    nobody can tell whose cancellation it is.
    """
    for call, where in file.module.calls.get("cancel", ()):
        if where is function and call.lineno <= (node.end_lineno or node.lineno):
            return True
    waits = [
        part
        for statement in node.body
        for part in ast.walk(statement)
        if isinstance(part, ast.Await)
    ]
    return bool(waits) and all(
        _is_task(part.value) or _cleans_up(part) for part in waits
    )


def _cleans_up(node: ast.Await) -> bool:
    """Whether what is awaited ends something: `close()`, `shield(worker.stop())`."""
    called: ast.expr = node.value
    while isinstance(called, ast.Call):
        if _CLEANUP.search(ast.unparse(called.func)):
            return True
        if not called.args:
            return False
        called = called.args[0]
    return False


def _is_cleanup(file: File, node: ast.AST) -> bool:
    """Whether it stands in a handler or a `finally`: the end is on its way already."""
    below = node
    for around in file.module.ancestors(node):
        if isinstance(around, ast.ExceptHandler):
            return True
        if isinstance(around, (ast.Try, ast.TryStar)) and below in around.finalbody:
            return True
        below = around
    return False


def _is_task(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return True
    func = node.func
    last = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if last in {"gather", "wait", "wait_for", "shield", "wrap_future"}:
        given = node.args[:1]
        return all(not isinstance(arg, ast.Call) for arg in given)
    return False


def _is_wait(file: File, step: Step) -> bool:
    """Whether the task waits here, other than to clean up behind itself."""
    node = step.node
    if node is None or _is_cleanup(file, node):
        return False
    if isinstance(node, ast.AsyncFor):
        return True
    if isinstance(node, ast.AsyncWith):
        return True
    for part in step.parts:
        for inner in ast.walk(part):
            if isinstance(inner, ast.Await) and not _cleans_up(inner):
                return True
    return False


RULE = Rule(
    code="CTX503",
    name="swallowed-cancel",
    says="a task catches its cancellation and goes on waiting",
    why="""\
A cancellation is delivered once. A task that catches it and waits again cannot be
ended: a time limit around it does nothing, shutdown hangs. Waiting for a child that
one has canceled oneself, clean-up, and returning are different and not reported.""",
    bad="""\
import asyncio

async def worker(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            await handle(await queue.get())
        except asyncio.CancelledError:
            print("interrupted")
""",
    good="""\
import asyncio

async def worker(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            await handle(await queue.get())
        except asyncio.CancelledError:
            print("interrupted")
            raise
""",
    check=check,
    everywhere=True,
)
