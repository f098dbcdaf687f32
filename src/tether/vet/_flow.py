"""The ways through a function, exceptions included.

Each statement is a step with the steps that may follow it and the one that an
exception leads to. What is known about Python's ways:

1.  A statement may raise if it calls, awaits, yields, asserts or raises. Attribute
    and item access may too; to follow those would make every line an exit.
2.  The body of `finally` stands in the graph once for each way that leads through it:
    falling out, raising, returning, breaking, continuing.
3.  An exception passes a handler by, unless that is bare or for `BaseException`:
    nobody knows what `except ValueError` will meet.
4.  `with suppress(...)` and its like go on after the block.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace

from ._names import dotted

_RAISING = (ast.Call, ast.Await, ast.Yield, ast.YieldFrom, ast.Raise, ast.Assert)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SWALLOW = frozenset(
    {"suppress", "raises", "assertRaises", "move_on_after", "move_on_at", "CancelScope"}
)


class Step:
    """One statement, or the head of a compound one, on one of the ways to it."""

    __slots__ = ("next", "node", "parts", "raises")

    def __init__(self, node: ast.AST | None, parts: tuple[ast.AST, ...] = ()) -> None:
        self.node = node
        self.parts = parts  # the expressions that run here
        self.next: list[Step] = []
        self.raises: Step | None = None


@dataclass(frozen=True, slots=True)
class _Ways:
    """Where a jump out of the present block leads."""

    raises: Step
    returns: Step
    breaks: Step | None = None
    continues: Step | None = None


class Flow:
    """The graph of one function."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self.left = Step(None)  # it returned
        self.failed = Step(None)  # it raised
        self.steps: dict[ast.AST, list[Step]] = {}
        self.entry = self._block(body, self.left, _Ways(self.failed, self.left))

    def leak(
        self, start: ast.AST, stops: Callable[[Step], bool]
    ) -> tuple[Step, Step] | None:
        """A way from after `start` out of the function that meets no stop.

        Answers the last step on it and `left` or `failed`; a way that returns is
        preferred to one that raises.
        """
        found: tuple[Step, Step] | None = None
        for first in self.steps.get(start, ()):
            todo = [(first, step) for step in first.next]
            seen: set[Step] = set()
            while todo:
                before, step = todo.pop()
                if step is self.left:
                    return before, step
                if step is self.failed:
                    found = found or (before, step)
                    continue
                if step in seen or stops(step):
                    continue
                seen.add(step)
                at = step if step.node is not None else before
                todo += [(at, after) for after in step.next]
                if step.raises is not None:
                    todo.append((at, step.raises))
        return found

    def reaches(self, start: ast.AST, wanted: Callable[[Step], bool]) -> Step | None:
        """The first wanted step found on the ways from `start`, itself excluded."""
        for first in self.steps.get(start, ()):
            todo = list(first.next)
            seen: set[Step] = set()
            while todo:
                step = todo.pop()
                if step in seen:
                    continue
                seen.add(step)
                if wanted(step):
                    return step
                todo += step.next
        return None

    # -- building, from the end to the start -------------------------------------------

    def _block(self, body: list[ast.stmt], after: Step, ways: _Ways) -> Step:
        for statement in reversed(body):
            after = self._statement(statement, after, ways)
        return after

    def _step(self, node: ast.AST, ways: _Ways, *parts: ast.AST | None) -> Step:
        step = Step(node, tuple(part for part in parts if part is not None))
        if any(_may_raise(part) for part in step.parts):
            step.raises = ways.raises
        self.steps.setdefault(node, []).append(step)
        return step

    def _statement(self, node: ast.stmt, after: Step, ways: _Ways) -> Step:
        match node:
            case ast.If():
                step = self._if(node, after, ways)
            case ast.While() | ast.For() | ast.AsyncFor():
                step = self._loop(node, after, ways)
            case ast.With() | ast.AsyncWith():
                step = self._with(node, after, ways)
            case ast.Try() | ast.TryStar():
                step = self._try(node, after, ways)
            case ast.Match():
                step = self._step(node, ways, node.subject)
                step.next = [self._block(c.body, after, ways) for c in node.cases]
                if not any(map(_takes_all, node.cases)):
                    step.next.append(after)
            case ast.Return():
                step = self._step(node, ways, node.value)
                step.next = [ways.returns]
            case ast.Raise():
                step = self._step(node, ways, node.exc, node.cause)
                step.raises = None
                step.next = [ways.raises]
            case ast.Break():
                step = self._step(node, ways)
                step.next = [ways.breaks or after]
            case ast.Continue():
                step = self._step(node, ways)
                step.next = [ways.continues or after]
            case _:
                step = self._step(node, ways, node)
                step.next = [after]
        return step

    def _if(self, node: ast.If, after: Step, ways: _Ways) -> Step:
        chain = [node]  # of elif: long ones are not nested in the source either
        while len(chain[-1].orelse) == 1 and isinstance(chain[-1].orelse[0], ast.If):
            chain.append(chain[-1].orelse[0])
        below = self._block(chain[-1].orelse, after, ways)
        for one in reversed(chain):
            step = self._step(one, ways, one.test)
            step.next = [self._block(one.body, after, ways), below]
            below = step
        return below

    def _loop(
        self, node: ast.While | ast.For | ast.AsyncFor, after: Step, ways: _Ways
    ) -> Step:
        if isinstance(node, ast.While):
            step = self._step(node, ways, node.test)
            endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        else:
            step = self._step(node, ways, node.iter, node.target)
            endless = False
        if isinstance(node, ast.AsyncFor):
            step.raises = ways.raises
        inside = replace(ways, breaks=after, continues=step)
        step.next = [self._block(node.body, step, inside)]
        if not endless:
            step.next.append(self._block(node.orelse, after, ways))
        return step

    def _with(self, node: ast.With | ast.AsyncWith, after: Step, ways: _Ways) -> Step:
        inside = ways
        step = self._step(node, ways, *node.items)
        step.raises = ways.raises
        if any(_swallows(item.context_expr) for item in node.items):
            caught = Step(None)
            caught.next = [ways.raises, after]
            inside = replace(ways, raises=caught)
            if len(node.items) == 1:
                step.raises = None  # to enter it cannot fail
        step.next = [self._block(node.body, after, inside)]
        return step

    def _try(self, node: ast.Try | ast.TryStar, after: Step, ways: _Ways) -> Step:
        if node.finalbody:
            copies: dict[Step, Step] = {}

            def through(target: Step) -> Step:
                if target not in copies:
                    copies[target] = self._block(node.finalbody, target, outside)
                return copies[target]

            outside = ways
            after = through(after)
            ways = _Ways(
                through(ways.raises),
                through(ways.returns),
                through(ways.breaks) if ways.breaks else None,
                through(ways.continues) if ways.continues else None,
            )
        inside = ways
        if node.handlers:
            caught = Step(None)
            for handler in node.handlers:
                step = self._step(handler, ways)
                step.next = [self._block(handler.body, after, ways)]
                caught.next.append(step)
            if not any(map(catches_all, node.handlers)):
                caught.next.append(ways.raises)
            inside = replace(ways, raises=caught)
        step = self._step(node, ways)
        orelse = self._block(node.orelse, after, ways)
        step.next = [self._block(node.body, orelse, inside)]
        return step


def catches_all(handler: ast.ExceptHandler) -> bool:
    """Whether nothing at all passes an `except`."""
    types = handler.type
    many = types.elts if isinstance(types, ast.Tuple) else [types]
    return any(
        one is None or dotted(one).rpartition(".")[2] == "BaseException" for one in many
    )


def _takes_all(case: ast.match_case) -> bool:
    """`case _:` and `case name:`."""
    pattern = case.pattern
    plain = isinstance(pattern, ast.MatchAs) and pattern.pattern is None
    return plain and case.guard is None


def _swallows(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    func = node.func
    name = func.attr if isinstance(func, ast.Attribute) else dotted(func)
    return name in _SWALLOW


def _may_raise(part: ast.AST) -> bool:
    if isinstance(part, (*_DEFINITIONS, ast.ClassDef)):
        return False
    todo = [part]
    while todo:
        node = todo.pop()
        if isinstance(node, _RAISING):
            return True
        if not isinstance(node, _DEFINITIONS):
            todo += ast.iter_child_nodes(node)
    return False
