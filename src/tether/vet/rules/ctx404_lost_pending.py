"""CTX404: what a wait did not finish is forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._shapes import is_start

_STARTS = frozenset({"create_task", "ensure_future"})
# Of a task, or of a collection of tasks that holds others too.
_HANDLED = frozenset({"cancel", "append", "extend", "add", "update", "pop", "remove"})


def check(file: File) -> Iterator[Found]:
    """Report `asyncio.wait` of tasks made for it whose pending ones are dropped."""
    for call, function, callee in file.calls("wait"):
        if callee != "asyncio.wait" or not call.args or not _may_leave(call):
            continue
        tasks = _made_here(file, call.args[0], function)
        if tasks is None:
            continue
        await_ = file.module.parents.get(call)
        statement = file.module.parents.get(await_) if await_ else None
        pending = _pending(statement)
        if pending is None:
            continue
        if pending and _is_read(function, pending):
            continue
        if any(_is_ended(function, name, call) for name in tasks):
            continue
        if _is_one(call.args[0]) and any(_is_looked_at(file, t, call) for t in tasks):
            continue  # "is it done by then?": it is to run on
        again = any(
            isinstance(around, (ast.While, ast.For, ast.AsyncFor))
            for around in file.module.ancestors(call)
        )
        if not again and is_start(file, function):
            continue  # the loop ends behind it, and asyncio.run() cancels what is left
        more = "; each round of the loop leaves some" if again else ""
        yield Found(
            call,
            f"the tasks that are still pending run on, and nobody ends them{more}:"
            " cancel and await what `wait` answers second",
        )


def _may_leave(call: ast.Call) -> bool:
    for given in call.keywords:
        if given.arg == "timeout" and not (
            isinstance(given.value, ast.Constant) and given.value.value is None
        ):
            return True
        if given.arg == "return_when" and "FIRST" in ast.unparse(given.value):
            return True
    return False


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, (ast.List, ast.Set, ast.Tuple)) and len(node.elts) == 1


def _is_looked_at(file: File, name: str, wait: ast.Call) -> bool:
    """Whether something is asked of a task elsewhere: `task.done()`."""
    return any(
        isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == name
        for last in ("done", "result", "exception", "add_done_callback")
        for call, _ in file.module.calls.get(last, ())
        if call is not wait
    )


def _made_here(file: File, node: ast.expr, function: Function) -> list[str] | None:
    """The names of the tasks, if all of them are made here; None if not."""
    if isinstance(node, ast.Name):  # tasks = [create_task(...), ...]
        bound = file.names.bindings(node.id, function)
        values = [value for how, value in bound if how == "value"]
        if len(bound) != 1 or len(values) != 1 or isinstance(values[0], ast.Name):
            return None
        assert isinstance(values[0], ast.expr)
        inner = _made_here(file, values[0], function)
        return None if inner is None else [node.id, *inner]
    if isinstance(node, (ast.ListComp, ast.SetComp)):
        return [] if _is_start(file, node.elt, function) else None
    if not isinstance(node, (ast.List, ast.Set, ast.Tuple)) or not node.elts:
        return None
    names = []
    for element in node.elts:
        if isinstance(element, ast.Name):
            made = [value for _, value in file.names.bindings(element.id, function)]
            if not made or not all(_is_start(file, one, function) for one in made):
                return None
            names.append(element.id)
        elif not _is_start(file, element, function):
            return None
    return names


def _is_start(file: File, node: object, function: Function) -> bool:
    """Whether it makes a task; one of a group ends with the group's block."""
    if not isinstance(node, ast.Call):
        return False
    func = node.func
    if not isinstance(func, ast.Attribute):
        return getattr(func, "id", "") in _STARTS
    maker = func.value.id if isinstance(func.value, ast.Name) else ""
    of_block = any(how == "with" for how, _ in file.names.bindings(maker, function))
    return func.attr in _STARTS and not of_block


def _pending(statement: ast.AST | None) -> str | None:
    """The name of the pending set, "" if it is dropped, None if it goes elsewhere."""
    if isinstance(statement, ast.Expr):
        return ""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Tuple) and len(target.elts) == 2:
            second = target.elts[1]
            return second.id if isinstance(second, ast.Name) else None
    return None


def _is_read(function: Function, name: str) -> bool:
    return any(
        isinstance(part, ast.Name)
        and part.id == name
        and isinstance(part.ctx, ast.Load)
        for part in ast.walk(function.node)
    )


def _is_ended(function: Function, name: str, wait: ast.Call) -> bool:
    """Whether a task is canceled, awaited or handed on elsewhere in the function."""
    for part in ast.walk(function.node):
        if isinstance(part, ast.Await) and isinstance(part.value, ast.Name):
            if part.value.id == name:
                return True
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            if part.value.id == name and part.attr in _HANDLED:
                return True
        elif isinstance(part, (ast.For, ast.comprehension)):
            if any(
                isinstance(n, ast.Name) and n.id == name for n in ast.walk(part.iter)
            ):
                return True
        elif isinstance(part, ast.Call) and part is not wait:
            given = [*part.args, *(k.value for k in part.keywords)]
            if any(isinstance(a, ast.Name) and a.id == name for a in given):
                return True
    return False


RULE = Rule(
    code="CTX404",
    name="lost-pending",
    says="tasks that `asyncio.wait` left pending are neither canceled nor awaited",
    why="""\
`asyncio.wait` with `FIRST_COMPLETED` or a timeout ends no task: what is pending runs
on. In a loop that waits for "a message or the stop event", every round leaves one
more task behind: a leak that takes weeks to be seen. With a context there is nothing
to race: `await queue.get_async(ctx)`, `await wait_for(ctx, event)`. Off by default:
some of those tasks are meant to run on, or end with something not seen here.""",
    bad="""\
import asyncio

async def consume(queue: asyncio.Queue[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        done, _ = await asyncio.wait(
            [asyncio.create_task(queue.get()), asyncio.create_task(stop.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        handle(done)
""",
    good="""\
from tether import Context, Queue

async def consume(ctx: Context, queue: Queue[str]) -> None:
    while True:
        handle(await queue.get_async(ctx))
""",
    check=check,
    everywhere=True,
    default=False,
)
