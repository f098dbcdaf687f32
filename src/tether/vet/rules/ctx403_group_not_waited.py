"""CTX403: a group that is not waited for on every way out."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._flow import Flow, Step
from .._shapes import enters, is_handed_over

_GROUPS = frozenset({"tether.Group", "tether.WaitGroup"})
_GIVES = frozenset({"go", "try_go", "go_with", "try_go_with", "add"})
_WAITS = frozenset({"wait", "wait_async", "drain", "drain_async"})


def check(file: File) -> Iterator[Found]:
    """Follow each group in a local variable to all exits."""
    for node, function in file.module.of(ast.Assign):
        assert isinstance(node, ast.Assign)
        target = node.targets[0]
        if not isinstance(target, ast.Name) or not isinstance(node.value, ast.Call):
            continue
        if file.names.callee(node.value, function) not in _GROUPS:
            continue
        name = target.id
        if isinstance(function.node, ast.Module) or is_handed_over(
            file, name, function
        ):
            continue

        def waits(step: Step, name: str = name) -> bool:
            return any(
                enters(part, name) or _waits_for(part, name) for part in step.parts
            )

        flow = file.flow(function)
        # What was given nothing need not be waited for.
        ways = (flow.leak(at, waits) for at in _giving(file, flow, name))
        lost = next((way for way in ways if way is not None), None)
        if lost is not None:
            line = getattr(lost[0].node, "lineno", node.lineno)
            how = "returns" if lost[1] is flow.left else "raises"
            yield Found(
                node.value,
                f"when line {line} {how}, nobody waits for {name}: use it as a block",
            )


def _giving(file: File, flow: Flow, name: str) -> list[ast.AST]:
    """The statements that give the group work, other than inside its own block."""
    return [
        node
        for node, steps in flow.steps.items()
        if any(
            isinstance(inner, ast.Attribute)
            and inner.attr in _GIVES
            and isinstance(inner.value, ast.Name)
            and inner.value.id == name
            for part in steps[0].parts
            for inner in ast.walk(part)
        )
        and not _is_waited_for(file, node)
        and not any(
            enters(item, name)
            for around in file.module.ancestors(node)
            if isinstance(around, (ast.With, ast.AsyncWith))
            for item in around.items
        )
    ]


def _is_waited_for(file: File, node: ast.AST) -> bool:
    """Whether the handle that a statement gets is waited for: `handle.wait()`."""
    target = node.targets[0] if isinstance(node, ast.Assign) else None
    if not isinstance(target, ast.Name):
        return False
    return any(
        _waits_for(call.func, target.id)
        for last in ("wait", "wait_async")
        for call, _ in file.module.calls.get(last, ())
    )


def _waits_for(node: ast.AST, name: str) -> bool:
    return any(
        isinstance(part, ast.Attribute)
        and part.attr in _WAITS
        and isinstance(part.value, ast.Name)
        and part.value.id == name
        for part in ast.walk(node)
    )


RULE = Rule(
    code="CTX403",
    name="group-not-waited",
    says="a group is not waited for on every way out of its function",
    why="""\
Work in a group that nobody waits for runs on behind the caller's back, and its error
is never seen. As a block the group waits on every way out, and ends the children
when the body fails.""",
    bad="""\
from tether import Context, Group

def page(ctx: Context) -> None:
    group = Group(ctx)
    group.go(load_user)
    show(ctx)
    group.wait()
""",
    good="""\
from tether import Context, Group

def page(ctx: Context) -> None:
    with Group(ctx) as group:
        group.go(load_user)
        show(ctx)
""",
    check=check,
)
