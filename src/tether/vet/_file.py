"""What a rule is given: one module, its names, its ways, and the project around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ._flow import Flow
from ._function import Function
from ._module import Module
from ._names import Names
from ._project import Facts, Project, summary


class File:
    """One file under examination."""

    def __init__(self, module: Module, project: Project, root: Path) -> None:
        self.module = module
        self.names = Names(module)
        self.project = project
        self.root = root
        self._flows: dict[Function, Flow] = {}
        self._contexts: dict[Function, frozenset[str]] = {}
        self._carriers: dict[Function, frozenset[str]] = {}
        self._calls: dict[Function, list[ast.Call]] | None = None
        self._mentions: dict[ast.AST, frozenset[str]] = {}

    @property
    def uses_tether(self) -> bool:
        """Whether the file imports tether, so that its contexts are ours."""
        return self.names.uses_tether

    def calls(self, *lasts: str) -> Iterator[tuple[ast.Call, Function, str]]:
        """The calls whose last part is one of these, each with its full name."""
        for last in lasts:
            for call, function in self.module.calls.get(last, ()):
                yield call, function, self.names.callee(call, function)

    def every_call(self) -> Iterator[tuple[ast.Call, Function, str]]:
        """All calls. For files that use tether; the others have too many."""
        yield from self.calls(*self.module.calls)

    def flow(self, function: Function) -> Flow:
        """The ways through a function."""
        if function not in self._flows:
            self._flows[function] = Flow(function.body)
        return self._flows[function]

    def facts(self, callee: str) -> Facts | None:
        """What is known about a function of the project, in this file or another."""
        if not callee:
            return None
        self.project.remember(self.root, self.module, summary)
        return self.project.facts(callee, self.root)

    def waits(self, callee: str) -> bool:
        """Whether a function of the project blocks its thread."""
        self.project.remember(self.root, self.module, summary)
        return self.project.waits(callee, self.root)

    def mentions(self, node: ast.AST) -> frozenset[str]:
        """Every name that a piece of code reads, in inner functions too."""
        known = self._mentions.get(node)
        if known is None:
            known = self._mentions[node] = frozenset(
                part.id
                for part in ast.walk(node)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
            )
        return known

    def calls_in(self, function: Function) -> list[ast.Call]:
        """The calls in a function, without those of functions inside it."""
        if self._calls is None:
            self._calls = {}
            for found in self.module.calls.values():
                for call, where in found:
                    self._calls.setdefault(where, []).append(call)
        return self._calls.get(function, [])

    def contexts(self, function: Function) -> frozenset[str]:
        """The names in a function, and around it, that hold contexts."""
        known = self._contexts.get(function)
        if known is None:
            holds = self.names.holds_context
            found = {name for name in function.bindings if holds(name, function)}
            outer = function.outer
            around = self.contexts(outer) if outer is not None else frozenset()
            known = self._contexts[function] = around | found
        return known

    def carriers(self, function: Function) -> frozenset[str]:
        """Contexts, and names whose value was made of one: `left = ctx.remaining()`."""
        known = self._carriers.get(function)
        if known is not None:
            return known
        found = set(self.contexts(function))
        for _ in range(2):
            for around in function.chain():
                for name, bindings in around.bindings.items():
                    if any(
                        isinstance(value, ast.expr) and self.mentions(value) & found
                        for how, value in bindings
                        if how in {"value", "with"}
                    ):
                        found.add(name)
        known = self._carriers[function] = frozenset(found)
        return known

    def given(self, function: Function) -> str:
        """The name of the context that is in scope as a parameter; "" if none is."""
        return self.names.context_of(function)

    def carries(self, call: ast.Call, function: Function) -> bool:
        """Whether a context reaches a call: in its arguments, or in a guard around it.

        `with ctx.interrupting(...)`, `with guard(ctx, conn)` and the like count.
        """
        if not self.uses_tether:
            return False
        names = self.carriers(function)
        for part in (*call.args, *(given.value for given in call.keywords)):
            if self.mentions(part) & names or self._is_current(part, function):
                return True
        if self._is_handed_with(function, names):
            return True
        for around in self.module.ancestors(call):
            if isinstance(around, (ast.With, ast.AsyncWith)):
                for item in around.items:
                    if self._guards(item.context_expr, names):
                        return True
        return False

    def _is_handed_with(self, function: Function, names: frozenset[str]) -> bool:
        """Whether it stands in a function that is passed on together with a context.

        `ask(ctx, lambda: conn.execute(sql))`: whoever gets both looks after it.
        """
        inner = function.node
        if isinstance(inner, ast.Lambda):
            taker = self.module.parents.get(inner)
            return isinstance(taker, ast.Call) and bool(self.mentions(taker) & names)
        if function.outer is None or isinstance(inner, ast.Module):
            return False
        short = function.name.rpartition(".")[2]
        return any(
            isinstance(part, ast.Call)
            and any(isinstance(a, ast.Name) and a.id == short for a in part.args)
            and any(self.mentions(a) & names for a in part.args)
            for part in ast.walk(function.outer.node)
        )

    def _guards(self, node: ast.expr, names: frozenset[str]) -> bool:
        if not isinstance(node, ast.Call):
            return False
        func = node.func
        if isinstance(func, ast.Attribute) and func.attr == "interrupting":
            return True
        return any(self.mentions(arg) & names for arg in node.args)

    def _is_current(self, node: ast.AST, function: Function) -> bool:
        return any(
            isinstance(part, ast.Call)
            and self.names.callee(part, function) == "tether.current"
            for part in ast.walk(node)
        )

    def scopes_around(
        self, node: ast.AST, function: Function
    ) -> Iterator[tuple[ast.With | ast.AsyncWith, str]]:
        """The `with` blocks of scopes around a node, and the names they bind."""
        for around in self.module.ancestors(node):
            if isinstance(around, (ast.With, ast.AsyncWith)):
                for item in around.items:
                    if self.names.is_context(item.context_expr, function):
                        name = item.optional_vars
                        yield around, name.id if isinstance(name, ast.Name) else ""
