"""Shapes of code that several rules look for, or must leave alone."""

from __future__ import annotations

import ast
import re

from ._file import File
from ._flow import catches_all
from ._function import Function
from ._libraries import CONTEXT, REQUESTS, SCOPE
from ._names import dotted

# Whole words of a name: `stop_all`, `Server.close`, `__exit__`; not `equity`.
_SHUTDOWN = re.compile(
    r"(?:^|[._])(?:shut_?down|shutting|stop(?:ped|ping)?|a?clos(?:e|ed|ing)"
    r"|clean(?:_?up)?|drain(?:ing)?|tear_?down|finali[sz]e|roll_?back|lifespan"
    r"|(?:at|a)?exit|del|dispose|terminate|quit|signal)(?:$|[._])",
    re.IGNORECASE,
)
_MAIN = re.compile(r"^_?(a?main|run|serve|cli|setup|conftest|create_app|make_app)$")
_ENDS = frozenset(
    {
        *("Canceled", "ContextError", "DeadlineExceeded", "CancelledError"),
        "Cancelled",  # spelling: theirs
    }
)


def types_of(handler: ast.ExceptHandler) -> list[str]:
    """The last parts of the names of what is caught; [""] for a bare one."""
    node = handler.type
    if node is None:
        return [""]
    many = node.elts if isinstance(node, ast.Tuple) else [node]
    return [dotted(one).rpartition(".")[2] for one in many]


def is_shutdown(file: File, node: ast.AST, function: Function) -> bool:
    """Whether code runs because things come to an end: there a fresh root is right."""
    if any(_SHUTDOWN.search(around.name) for around in function.chain()):
        return True
    below = node
    for around in file.module.ancestors(node):
        if isinstance(around, ast.Try) and below in around.finalbody:
            return True
        if isinstance(around, ast.ExceptHandler) and (
            _ENDS & set(types_of(around)) or _cleans_up(around)
        ):
            return True
        below = around
    return _is_after_end(file, node, function)


def _cleans_up(handler: ast.ExceptHandler) -> bool:
    """Whether it catches everything, and raises it again when it is done."""
    last = handler.body[-1]
    return catches_all(handler) and isinstance(last, ast.Raise) and last.exc is None


def _is_after_end(file: File, node: ast.AST, function: Function) -> bool:
    """Whether `ctx.wait()` or a test of `ctx.done()` stands before it."""
    contexts = file.contexts(function)
    line = node.lineno  # type: ignore[attr-defined]
    for last in ("wait", "wait_async", "done"):
        for call, where in file.module.calls.get(last, ()):
            func = call.func
            if (
                where is function
                and call.lineno < line
                and isinstance(func, ast.Attribute)
                and isinstance(func.value, ast.Name)
                and func.value.id in contexts
            ):
                return True
    return False


def is_script(file: File, node: ast.AST) -> bool:
    """Whether code stands under `if __name__ == "__main__":`."""
    up = file.module.parents.get(node)
    while up is not None:
        if isinstance(up, ast.If) and any(
            isinstance(part, ast.Name) and part.id == "__name__"
            for part in ast.walk(up.test)
        ):
            return True
        up = file.module.parents.get(up)
    return False


def is_start(file: File, function: Function) -> bool:
    """Whether a function is where a program, a test or a signal handler starts."""
    if isinstance(function.node, ast.Module):
        return True
    short = function.name.rpartition(".")[2]
    if _MAIN.match(short) or short.startswith(("test", "fixture")):
        return True
    return any(
        "signal" in last or last in {"register", "run"}
        for last in _passed_to(file, short)
    )


def _passed_to(file: File, name: str) -> set[str]:
    """The functions that `name` is handed to, as an argument by itself."""
    found = set()
    for last in ("signal", "add_signal_handler", "register", "run"):
        for call, _ in file.module.calls.get(last, ()):
            if any(isinstance(a, ast.Name) and a.id == name for a in call.args):
                found.add(last)
    return found


def has_request(file: File, function: Function) -> bool:
    """Whether a function, or one around it, was given a web request."""
    for around in function.chain():
        for arg in around.params:
            kind = file.names.annotation(arg.annotation, around)
            if kind in REQUESTS or (arg.arg == "request" and arg.annotation is None):
                return True
    return False


def _answers_context(file: File, function: Function) -> bool:
    node = function.node
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return file.names.annotation(node.returns, function) in {CONTEXT, SCOPE}


# What hands a value on: to the caller, or to another name or attribute.
_VALUES = (
    *(ast.Return, ast.Yield, ast.YieldFrom),
    *(ast.Assign, ast.AnnAssign, ast.NamedExpr),
)


def is_handed_over(file: File, name: str, function: Function) -> bool:
    """Whether the object that a local name holds gets another owner.

    It is returned, yielded, stored, aliased, used by an inner function, or given to a
    constructor, a collection, or a function that takes a Scope: that is what one owns.
    An argument of any other function stays ours: it uses a context and does not end it.
    """
    if name in function.hidden or _answers_context(file, function):
        return True
    for node in ast.walk(function.node):
        if isinstance(node, _VALUES):
            if node.value is not None and gives(node.value, name):
                return True
        elif isinstance(node, ast.Call):
            func = node.func
            if isinstance(func, ast.Attribute):
                keeps = _is_class(func.attr) or func.attr in KEEPERS
            else:
                last = dotted(func)
                keeps = _is_class(last) or last in KEEPING_FUNCTIONS
            given = (*node.args, *(word.value for word in node.keywords))
            if any(gives(arg, name) for arg in given):
                if keeps:
                    return True
                facts = file.facts(file.names.callee(node, function))
                if facts is not None and facts.keeps:
                    return True
        elif (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            and node is not function.node
            and name in file.mentions(node)
        ):
            return True
    return False


KEEPERS = frozenset(
    {
        *("append", "add", "put", "put_nowait", "push", "register", "insert", "extend"),
        *("enter_context", "enter_async_context", "callback", "setdefault", "setattr"),
        *("set", "addCleanup", "addfinalizer"),
    }
)
KEEPING_FUNCTIONS = frozenset({"setattr", "partial", "closing", "finalize"})


def gives(node: ast.AST, name: str) -> bool:
    """Whether the value of an expression is, or contains, what `name` holds."""
    if isinstance(node, ast.Name):
        return node.id == name
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(gives(one, name) for one in node.elts)
    if isinstance(node, ast.Dict):
        return any(gives(one, name) for one in node.values)
    if isinstance(node, (ast.Starred, ast.Await)):
        return gives(node.value, name)
    if isinstance(node, ast.IfExp):
        return gives(node.body, name) or gives(node.orelse, name)
    if isinstance(node, ast.BoolOp):
        return any(gives(one, name) for one in node.values)
    if isinstance(node, ast.Attribute):  # scope.cancel, handed over as a function
        return node.attr == "cancel" and gives(node.value, name)
    if isinstance(node, ast.Call):  # Holder(scope)
        last = dotted(node.func).rpartition(".")[2]
        return _is_class(last) and any(gives(arg, name) for arg in node.args)
    return False


def _is_class(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def cancels(node: ast.AST, name: str) -> bool:
    """Whether a piece of code reads `name.cancel`, or leaves the block by hand."""
    return any(
        isinstance(part, ast.Attribute)
        and part.attr in {"cancel", "__exit__"}
        and isinstance(part.value, ast.Name)
        and part.value.id == name
        for part in ast.walk(node)
    )


def enters(node: ast.AST, name: str) -> bool:
    """Whether a `with` item has `name` as its context manager, or gives it to one."""
    return isinstance(node, ast.withitem) and any(
        isinstance(part, ast.Name) and part.id == name
        for part in ast.walk(node.context_expr)
    )


_STARTERS = {
    "asyncio.create_task": "task",
    "asyncio.ensure_future": "task",
    "asyncio.AbstractEventLoop.create_task": "task",
    "threading.Thread": "thread",
    "concurrent.futures.ThreadPoolExecutor.submit": "submitted call",
    "concurrent.futures.ProcessPoolExecutor.submit": "submitted call",
}


def starts_work(callee: str) -> str:
    """What a call starts, in a word; "" if it starts nothing."""
    return _STARTERS.get(callee, "")


def awaits(node: ast.AST) -> bool:
    """Whether a piece of code waits, other than in functions it only defines."""
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            return True
        if not isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(part)
    return False
