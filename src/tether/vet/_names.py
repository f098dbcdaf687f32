"""What a name means: where it was imported from, and what kind of object it holds.

Both answer "" when they do not know. Nothing is imported; a kind is worked out from
the constructor or the annotation that a name got its value from, and only if all of
its bindings agree. So an answer may be missing, and is hardly ever wrong.
"""

from __future__ import annotations

import ast

from ._function import Binding, Function
from ._libraries import (
    ANSWERS,
    CALLED,
    CONTEXT,
    DERIVE_CONTEXT,
    DERIVE_SCOPE,
    OTHER_CTX,
    SAME,
    SCOPE,
)
from ._module import Module

_DEEP = 8  # steps from a name to its constructor; more are a cycle
_WRAPPERS = frozenset(
    {"Optional", "Annotated", "Final", "ClassVar", "Awaitable", "Coroutine"}
)


def dotted(node: ast.AST) -> str:
    """`a.b.c` as text; "" if it is anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(node.id)
    parts.reverse()
    return ".".join(parts)


class Names:
    """The meaning of the names of one module."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.uses_tether = "tether" in module.imported or module.name.startswith(
            "tether."
        )
        # A bare `ctx` is ours only where nobody else's can be meant.
        self.ctx_is_ours = self.uses_tether and not module.imported & OTHER_CTX
        self._declaring = [f for f in module.functions if f.hidden]
        self._given: dict[Function, str] = {}
        self._callees: dict[ast.Call, str] = {}
        self._kinds: dict[tuple[ast.AST, Function], str] = {}
        self._annotations: dict[str, ast.expr | None] = {}

    # -- names -------------------------------------------------------------------------

    def bindings(self, name: str, function: Function) -> list[Binding]:
        """What a name is bound to where it is used; [] for builtins."""
        for around in function.chain():
            if name in around.bindings and name not in around.hidden:
                return around.bindings[name]
        return []

    def resolve(self, node: ast.AST, function: Function) -> str:
        """The full name of what `a.b.c` refers to: `asyncio.create_task`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Subscript):  # Queue[int]
            base = self.resolve(node.value, function)
            return ".".join([base, *reversed(parts)]) if base else ""
        if not isinstance(node, ast.Name):
            return ""
        root = self._root(node.id, function)
        if not root:
            return ""
        parts.append(root)
        parts.reverse()
        full = ".".join(parts)
        return SAME.get(full, full)

    def _root(self, name: str, function: Function) -> str:
        for around in function.chain():
            if name in around.bindings and name not in around.hidden:
                break
        else:
            return name  # a builtin, or from a star import
        targets = set()
        for how, value in around.bindings[name]:
            if how == "import":
                assert isinstance(value, str)
                targets.add(value)
            elif how in {"def", "class"}:
                prefix = f"{around.name}." * bool(around.name)
                targets.add(f"{self.module.name}.{prefix}{name}")
            elif not (isinstance(value, ast.Constant) and value.value is None):
                return ""  # `x = None` is what `except ImportError` leaves
        if len(targets) == 1:
            return targets.pop()
        # `import a.b` and `import a.c` both bind `a`; otherwise it is not clear.
        return ""

    def callee(self, call: ast.Call, function: Function) -> str:
        """What is called: `requests.get`, `queue.Queue.get`; "" if not known."""
        known = self._callees.get(call)
        if known is not None:
            return known
        self._callees[call] = ""  # for cycles
        found = self.resolve(call.func, function)
        if not found and isinstance(call.func, ast.Attribute):
            kind = self.kind(call.func.value, function)
            if kind:
                found = f"{kind}.{call.func.attr}"
        self._callees[call] = found
        return found

    # -- kinds -------------------------------------------------------------------------

    def kind(self, node: ast.AST | None, function: Function, deep: int = 0) -> str:
        """What an expression is an instance of: `requests.Session`; "" if not known."""
        if node is None or deep > _DEEP:
            return ""
        key = (node, function)
        known = self._kinds.get(key)
        if known is None:
            self._kinds[key] = ""
            known = self._kinds[key] = self._kind(node, function, deep + 1)
        return known

    def _kind(self, node: ast.AST, function: Function, deep: int) -> str:
        if isinstance(node, ast.Name):
            if node.id == "self":
                for around in function.chain():
                    if around.owner is not None:
                        return f"{self.module.name}.{around.owner.name}"
            for around in function.chain():
                if node.id in around.bindings and node.id not in around.hidden:
                    here = [(b, around) for b in around.bindings[node.id]]
                    return self._agreed(here + self._elsewhere(node.id), deep)
            return ""
        if isinstance(node, ast.Attribute):
            return self._attribute(node, function, deep)
        if isinstance(node, ast.Call):
            return self._answer(node, function, deep)
        if isinstance(node, ast.Await):
            return self.kind(node.value, function, deep)
        if isinstance(node, ast.NamedExpr):
            return self.kind(node.value, function, deep)
        if isinstance(node, (ast.BoolOp, ast.IfExp)):
            values = (
                node.values
                if isinstance(node, ast.BoolOp)
                else [node.body, node.orelse]
            )
            bound: list[tuple[Binding, Function]] = [
                (("value", value), function) for value in values
            ]
            return self._agreed(bound, deep)
        return ""

    def _elsewhere(self, name: str) -> list[tuple[Binding, Function]]:
        """What functions that declare a name global or nonlocal bind it to."""
        return [
            (binding, function)
            for function in self._declaring
            if name in function.hidden
            for binding in function.bindings.get(name, ())
        ]

    def _agreed(self, bindings: list[tuple[Binding, Function]], deep: int) -> str:
        kinds = set()
        for (how, value), function in bindings:
            if isinstance(value, ast.Constant) and value.value is None:
                continue
            if how in {"value", "with"}:
                kind = self.kind(value, function, deep)  # type: ignore[arg-type]
            elif how == "annotation":
                kind = self.annotation(value, function)  # type: ignore[arg-type]
            elif how == "arg":
                assert isinstance(value, ast.arg)
                kind = self.annotation(value.annotation, function)
                if not kind and value.annotation is None and value.arg == "ctx":
                    kind = CONTEXT if self.ctx_is_ours else ""
            else:
                kind = ""
            kinds.add(kind)
        if kinds == {CONTEXT, SCOPE}:
            return CONTEXT
        return kinds.pop() if len(kinds) == 1 else ""

    def _attribute(self, node: ast.Attribute, function: Function, deep: int) -> str:
        value = node.value
        if isinstance(value, ast.Name) and value.id in {"self", "cls"}:
            for around in function.chain():
                if around.owner is not None:
                    found = around.owner.attributes.get(node.attr)
                    if found:
                        return self._agreed(found, deep)
                    break
        if self.uses_tether and node.attr == "ctx":
            return CONTEXT  # group.ctx, request.ctx
        return ""

    def _answer(self, call: ast.Call, function: Function, deep: int) -> str:
        func = call.func
        if self.uses_tether and isinstance(func, ast.Attribute):
            if func.attr in DERIVE_SCOPE:
                return SCOPE
            if func.attr in DERIVE_CONTEXT:
                return CONTEXT
        full = self.resolve(func, function)
        if not full and isinstance(func, ast.Attribute):
            kind = self.kind(func.value, function, deep)
            full = f"{kind}.{func.attr}" if kind else ""
        if not full:
            return CALLED.get(self.kind(func, function, deep), "")
        answer = ANSWERS.get(full)
        if answer is not None:
            return answer
        if full.rpartition(".")[2][:1].isupper():
            return full
        # A factory of this module that says what it answers.
        return self._declared(func, function)

    def _declared(self, func: ast.AST, function: Function) -> str:
        if isinstance(func, ast.Name):
            bindings = self.bindings(func.id, function)
        elif (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Name)
            and func.value.id == "self"
        ):
            owner = next((f.owner for f in function.chain() if f.owner), None)
            found = owner.attributes.get(func.attr, []) if owner else []
            bindings = [binding for binding, _ in found]
        else:
            return ""
        if len(bindings) != 1 or bindings[0][0] != "def":
            return ""
        node = bindings[0][1]
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        return self.annotation(node.returns, function)

    def annotation(self, node: ast.AST | None, function: Function) -> str:
        """The kind that an annotation names; None and wrappers are looked through."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if text not in self._annotations:
                try:
                    self._annotations[text] = ast.parse(text.strip(), mode="eval").body
                except (SyntaxError, ValueError):
                    self._annotations[text] = None
            node = self._annotations[text]
        if node is None:
            return ""
        if isinstance(node, ast.BinOp):
            sides = [node.left, node.right]
            real = [s for s in sides if not _is_none(s)]
            if len(real) == 1:
                return self.annotation(real[0], function)
            both = {self.annotation(side, function) for side in sides}
            return both.pop() if len(both) == 1 else ""
        if isinstance(node, ast.Subscript):
            if dotted(node.value).rpartition(".")[2] in _WRAPPERS:
                inner = node.slice
                if isinstance(inner, ast.Tuple) and inner.elts:
                    inner = inner.elts[0]
                return self.annotation(inner, function)
            return self.annotation(node.value, function)
        return self.resolve(node, function)

    # -- contexts ----------------------------------------------------------------------

    def is_context(self, node: ast.AST | None, function: Function) -> bool:
        """Whether an expression is one of tether's contexts."""
        return self.kind(node, function) in {CONTEXT, SCOPE}

    def holds_context(self, name: str, function: Function) -> bool:
        """Whether a name that is bound in this very function holds a context."""
        bound = [(binding, function) for binding in function.bindings[name]]
        return self._agreed(bound, 0) in {CONTEXT, SCOPE}

    def context_params(self, function: Function) -> list[ast.arg]:
        """The parameters of a function that are contexts."""
        found = []
        for arg in function.params:
            binding: Binding = ("arg", arg)
            if self._agreed([(binding, function)], 0) in {CONTEXT, SCOPE}:
                found.append(arg)
        return found

    def context_of(self, function: Function) -> str:
        """The name of the context that it, or one around it, was given; or ""."""
        known = self._given.get(function)
        if known is None:
            found = (
                arg.arg
                for around in function.chain()
                for arg in self.context_params(around)
            )
            # Who calls it `_` has no use for it.
            known = next((name for name in found if name != "_"), "")
            self._given[function] = known
        return known


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
