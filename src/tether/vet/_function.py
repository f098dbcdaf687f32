"""Functions and classes of a file, and what the names in them are bound to."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

FunctionNode = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# How a name came to its value. "other" is a value that is not looked into.
How = Literal["value", "with", "arg", "import", "def", "class", "annotation", "other"]
Binding = tuple[How, ast.AST | str | None]


class Function:
    """A def, a lambda, or the module's own body."""

    __slots__ = ("bindings", "hidden", "name", "node", "outer", "owner")

    def __init__(
        self,
        node: FunctionNode,
        name: str,
        outer: Function | None,
        owner: Class | None,
    ) -> None:
        self.node = node
        self.name = name  # qualified: Class.method, outer.inner; "" for the module
        self.outer = outer
        self.owner = owner  # of a method
        self.bindings: defaultdict[str, list[Binding]] = defaultdict(list)
        self.hidden: set[str] = set()  # declared global or nonlocal

    @property
    def is_async(self) -> bool:
        """Whether its body runs in a task."""
        return isinstance(self.node, ast.AsyncFunctionDef)

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements; a lambda has none."""
        return [] if isinstance(self.node, ast.Lambda) else self.node.body

    @property
    def params(self) -> list[ast.arg]:
        """All parameters, in order, without `self` and `cls`."""
        if isinstance(self.node, ast.Module):
            return []
        args = self.node.args
        found = [*args.posonlyargs, *args.args, *args.kwonlyargs]
        static = not isinstance(self.node, ast.Lambda) and any(
            isinstance(d, ast.Name) and d.id == "staticmethod"
            for d in self.node.decorator_list
        )
        return found[1:] if self.owner is not None and not static else found

    def chain(self) -> Iterator[Function]:
        """This function and those around it, from inside out."""
        function: Function | None = self
        while function is not None:
            yield function
            function = function.outer


class Class:
    """A class: what is assigned to its attributes, in its body and in its methods."""

    __slots__ = ("attributes", "name", "node")

    def __init__(self, node: ast.ClassDef, name: str) -> None:
        self.node = node
        self.name = name
        # Each with the function in which it is to be understood.
        self.attributes: defaultdict[str, list[tuple[Binding, Function]]] = defaultdict(
            list
        )
