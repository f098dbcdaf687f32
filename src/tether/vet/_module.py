"""One source file: its functions, what its names are bound to, its calls.

The tree is walked once, without recursion (a chain of thousands of `+` is legal), and
what rules ask for is put aside: calls by the last part of their name, and the kinds of
statements in KEPT. A rule therefore costs nothing on a file that has none of its
words. Names and constants, more than half of all nodes, are not visited.

`symtable` would parse the file a second time, and since 3.12 its scopes no longer map
to the nodes; the bindings come out of the same walk instead.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import PurePath

from ._function import Binding, Class, Function

LEAVES: frozenset[type] = frozenset(
    {ast.Name, ast.Constant, ast.Pass, ast.Break, ast.Continue, ast.JoinedStr}
)
KEPT: frozenset[type] = frozenset(
    {
        *(ast.With, ast.AsyncWith, ast.Try, ast.While, ast.For, ast.AsyncFor),
        *(ast.Assign, ast.AnnAssign, ast.Expr, ast.Await, ast.ClassDef, ast.Return),
        *(ast.ExceptHandler, ast.TryStar),
    }
)
# Fields without anything to visit, and annotations: those are read when asked for.
_SKIPPED = frozenset(
    {
        *("ctx", "op", "ops", "annotation", "returns", "type_params", "type_ignores"),
        *("id", "attr", "arg", "kind", "type_comment", "simple", "conversion"),
        *("name", "names", "asname", "module", "level", "rest", "is_async"),
    }
)
_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(field for field in kind._fields if field not in _SKIPPED)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
_LEAVES_OF_WALK = LEAVES | {type(None), str, int, bool}


class Module:
    """A parsed file."""

    def __init__(
        self,
        path: str,
        name: str,
        text: str,
        tree: ast.Module,
        *,
        is_test: bool = False,
    ) -> None:
        self.path = path
        self.name = name  # as it is imported: shop.stock
        self.text = text
        self.tree = tree
        self.is_package = PurePath(path).name == "__init__.py"
        self.is_test = is_test
        self.top = Function(tree, "", None, None)
        self.functions = [self.top]
        self.classes: dict[str, Class] = {}
        self.calls: defaultdict[str, list[tuple[ast.Call, Function]]] = defaultdict(
            list
        )
        self.kept: defaultdict[type, list[tuple[ast.AST, Function]]] = defaultdict(list)
        self.parents: dict[ast.AST, ast.AST] = {}
        self.imported: set[str] = set()  # first parts of what is imported
        self._walk()

    @property
    def is_private(self) -> bool:
        """Whether it, or a package that it is in, begins with an underscore."""
        parts = self.name.split(".")
        return any(p.startswith("_") and not p.startswith("__") for p in parts)

    def of(self, *kinds: type) -> Iterator[tuple[ast.AST, Function]]:
        """The statements of these kinds, each with the function it stands in."""
        for kind in kinds:
            yield from self.kept.get(kind, ())

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """What a node stands in, from inside out, up to its function."""
        up = self.parents.get(node)
        while up is not None:
            yield up
            if isinstance(up, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                return
            up = self.parents.get(up)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The statement that an expression belongs to."""
        at: ast.AST | None = node
        while at is not None and not isinstance(at, ast.stmt):
            at = self.parents.get(at)
        assert isinstance(at, ast.stmt)
        return at

    # -- the walk ----------------------------------------------------------------------

    def _walk(self) -> None:
        parents, calls, kept = self.parents, self.calls, self.kept
        stack: list[tuple[ast.AST, Function, Class | None]] = [
            (self.tree, self.top, None)
        ]
        while stack:
            node, function, owner = stack.pop()
            kind = node.__class__
            if kind is ast.Call:
                func = node.func  # type: ignore[attr-defined]
                last = func.__class__
                if last is ast.Attribute:
                    calls[func.attr].append((node, function))  # type: ignore[arg-type]
                elif last is ast.Name:
                    calls[func.id].append((node, function))  # type: ignore[arg-type]
            else:
                if kind in KEPT:
                    kept[kind].append((node, function))
                binds = _BINDS.get(kind)
                if binds is not None:
                    inner = binds(self, node, function, owner)
                    if inner is not None:
                        self._enter(stack, node, function, owner, inner)
                        continue
            for field in _FIELDS[kind]:
                value = getattr(node, field)
                if value.__class__ is list:
                    for child in value:
                        if child.__class__ not in _LEAVES_OF_WALK:
                            parents[child] = node
                            stack.append((child, function, owner))
                elif value.__class__ not in _LEAVES_OF_WALK:
                    parents[value] = node
                    stack.append((value, function, owner))

    def _enter(
        self,
        stack: list[tuple[ast.AST, Function, Class | None]],
        node: ast.AST,
        function: Function,
        owner: Class | None,
        inner: Function | Class,
    ) -> None:
        """Go into a def, lambda or class; what runs outside of it stays outside."""
        outside: list[ast.expr | None] = []
        inside: list[ast.AST]
        if isinstance(node, ast.ClassDef):
            outside = [*node.decorator_list, *node.bases]
            outside += [keyword.value for keyword in node.keywords]
            inside = list(node.body)
        elif isinstance(node, ast.Lambda):
            outside = [*node.args.defaults, *node.args.kw_defaults]
            inside = [node.body]
        else:
            assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            outside = [*node.decorator_list, *node.args.defaults]
            outside += node.args.kw_defaults
            inside = list(node.body)
        for child in outside:
            if child is not None and child.__class__ not in LEAVES:
                self.parents[child] = node
                stack.append((child, function, owner))
        within = inner if isinstance(inner, Function) else function
        class_ = inner if isinstance(inner, Class) else None
        for part in inside:
            if part.__class__ not in LEAVES:
                self.parents[part] = node
                stack.append((part, within, class_))

    # -- bindings ----------------------------------------------------------------------

    def _bind(
        self,
        target: ast.AST,
        binding: Binding,
        function: Function,
        owner: Class | None,
    ) -> None:
        if isinstance(target, ast.Name):
            if owner is not None:  # the body of a class
                owner.attributes[target.id].append((binding, function))
            else:
                function.bindings[target.id].append(binding)
        elif isinstance(target, ast.Attribute):
            root = target.value
            if isinstance(root, ast.Name) and root.id in {"self", "cls"}:
                # `self` of a closure in a method is the method's.
                for around in function.chain():
                    if around.owner is not None:
                        attributes = around.owner.attributes[target.attr]
                        attributes.append((binding, function))
                        break
        elif isinstance(target, (ast.Tuple, ast.List)):
            values: list[ast.expr] | None = None
            value = binding[1]
            if (
                binding[0] == "value"
                and isinstance(value, (ast.Tuple, ast.List))
                and len(value.elts) == len(target.elts)
            ):
                values = value.elts
            for at, element in enumerate(target.elts):
                one: Binding = ("value", values[at]) if values else ("other", None)
                self._bind(element, one, function, owner)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, ("other", None), function, owner)

    def _on_def(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> Function:
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        prefix = (
            f"{owner.name}." if owner else f"{function.name}." * bool(function.name)
        )
        inner = Function(node, prefix + node.name, function, owner)
        if owner is None:
            function.bindings[node.name].append(("def", node))
        else:
            owner.attributes[node.name].append((("def", node), function))
        self.functions.append(inner)
        self._parameters(inner, node.args)
        return inner

    def _on_lambda(
        self, node: ast.AST, function: Function, _owner: Class | None
    ) -> Function:
        assert isinstance(node, ast.Lambda)
        inner = Function(node, f"{function.name}.<lambda>", function, None)
        self.functions.append(inner)
        self._parameters(inner, node.args)
        return inner

    def _parameters(self, function: Function, args: ast.arguments) -> None:
        for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs):
            function.bindings[arg.arg].append(("arg", arg))
        for rest in (args.vararg, args.kwarg):
            if rest is not None:
                function.bindings[rest.arg].append(("other", None))

    def _on_class(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> Class:
        assert isinstance(node, ast.ClassDef)
        prefix = (
            f"{owner.name}." if owner else f"{function.name}." * bool(function.name)
        )
        found = Class(node, prefix + node.name)
        self.classes[found.name] = found
        if owner is None:
            function.bindings[node.name].append(("class", node))
        return found

    def _on_import(
        self, node: ast.AST, function: Function, _owner: Class | None
    ) -> None:
        assert isinstance(node, ast.Import)
        for alias in node.names:
            first = alias.name.split(".", 1)[0]
            self.imported.add(first)
            name = alias.asname or first
            target = alias.name if alias.asname else first
            function.bindings[name].append(("import", target))

    def _on_import_from(
        self, node: ast.AST, function: Function, _owner: Class | None
    ) -> None:
        assert isinstance(node, ast.ImportFrom)
        origin = self.origin(node)
        self.imported.add(origin.split(".", 1)[0])
        for alias in node.names:
            target = f"{origin}.{alias.name}"
            function.bindings[alias.asname or alias.name].append(("import", target))

    def origin(self, node: ast.ImportFrom) -> str:
        """The module that `from ... import` takes from, absolute."""
        if not node.level:
            return node.module or ""
        above = self.name.split(".")
        drop = node.level - 1 if self.is_package else node.level
        above = above[: len(above) - drop] if drop else above
        return ".".join([*above, *([node.module] if node.module else [])])

    def _on_assign(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> None:
        assert isinstance(node, ast.Assign)
        for target in node.targets:
            self._bind(target, ("value", node.value), function, owner)

    def _on_annotated(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> None:
        assert isinstance(node, ast.AnnAssign)
        self._bind(node.target, ("annotation", node.annotation), function, owner)

    def _on_target(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> None:
        assert isinstance(
            node, (ast.For, ast.AsyncFor, ast.comprehension, ast.AugAssign)
        )
        self._bind(node.target, ("other", None), function, owner)

    def _on_walrus(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> None:
        assert isinstance(node, ast.NamedExpr)
        self._bind(node.target, ("value", node.value), function, owner)

    def _on_with_item(
        self, node: ast.AST, function: Function, owner: Class | None
    ) -> None:
        assert isinstance(node, ast.withitem)
        if node.optional_vars is not None:
            self._bind(node.optional_vars, ("with", node.context_expr), function, owner)

    def _on_handler(
        self, node: ast.AST, function: Function, _owner: Class | None
    ) -> None:
        assert isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar))
        if node.name:
            function.bindings[node.name].append(("other", None))

    def _on_global(
        self, node: ast.AST, function: Function, _owner: Class | None
    ) -> None:
        assert isinstance(node, (ast.Global, ast.Nonlocal))
        function.hidden.update(node.names)


_BINDS: dict[
    type,
    Callable[[Module, ast.AST, Function, Class | None], Function | Class | None],
] = {
    ast.FunctionDef: Module._on_def,
    ast.AsyncFunctionDef: Module._on_def,
    ast.Lambda: Module._on_lambda,
    ast.ClassDef: Module._on_class,
    ast.Import: Module._on_import,
    ast.ImportFrom: Module._on_import_from,
    ast.Assign: Module._on_assign,
    ast.AnnAssign: Module._on_annotated,
    ast.For: Module._on_target,
    ast.AsyncFor: Module._on_target,
    ast.comprehension: Module._on_target,
    ast.AugAssign: Module._on_target,
    ast.NamedExpr: Module._on_walrus,
    ast.withitem: Module._on_with_item,
    ast.ExceptHandler: Module._on_handler,
    ast.MatchAs: Module._on_handler,
    ast.MatchStar: Module._on_handler,
    ast.Global: Module._on_global,
    ast.Nonlocal: Module._on_global,
}
