"""The files beside the one that is looked at: who takes a context, and who waits.

Asked for a function of another file, it reads that file, then and there, and keeps a
summary. So an answer does not depend on which files were named or in which order, a
single changed file is judged as in a full run, and a project that never asks pays
nothing. Only files of the project are found; installed libraries are not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ._function import Function
from ._libraries import CONTEXT, SCOPE
from ._module import Module
from ._names import Names, dotted
from ._source import SourceError, discover, read
from ._waits import blocks

_MANY = 20_000  # files that are searched for a text; more are no project
_DEEP = 40  # calls that are followed in search of a wait


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a function of the project."""

    takes: int | None  # the position of its context among the parameters
    optional: bool  # the context has a default
    is_async: bool
    waits: bool  # by itself
    keeps: bool  # it takes a Scope, which it then owns, or answers a context
    calls: tuple[str, ...]


class Project:
    """Finds modules by name under the roots of the files that it was asked about."""

    def __init__(self) -> None:
        self._found: dict[tuple[Path, str], dict[str, Facts | str] | None] = {}
        self._parsed: dict[Path, tuple[str, ast.Module]] = {}
        self._has: dict[tuple[Path, re.Pattern[str]], bool] = {}

    def remember(
        self,
        root: Path,
        module: Module,
        summarize: Callable[[Module], dict[str, Facts | str]],
    ) -> None:
        """Take the summary from a module that is there already."""
        if (root, module.name) not in self._found:
            self._found[root, module.name] = summarize(module)

    def facts(self, name: str, root: Path) -> Facts | None:
        """What is known about `shop.stock.reserve`; None if the project has none."""
        for _ in range(_DEEP):  # re-exports
            rest, table = self._table(name, root)
            if table is None:
                return None
            known = table.get(rest)
            if isinstance(known, Facts):
                return known
            first, _dot, more = rest.partition(".")
            target = table.get(first)
            if not isinstance(target, str) or target == name:
                return None
            name = f"{target}.{more}" if more else target
        return None

    def waits(self, name: str, root: Path) -> bool:
        """Whether a function, or one that it calls, blocks its thread."""
        seen = {name}
        todo = [name]
        while todo and len(seen) < _DEEP:
            facts = self.facts(todo.pop(), root)
            if facts is None or facts.is_async or facts.takes is not None:
                continue  # a callee that takes ctx is judged where it stands
            if facts.waits:
                return True
            for callee in facts.calls:
                if callee not in seen:
                    seen.add(callee)
                    todo.append(callee)
        return False

    def has(self, root: Path, pattern: re.Pattern[str]) -> bool:
        """Whether a file below a folder has a text in it."""
        known = self._has.get((root, pattern))
        if known is None:
            files = islice(discover([root], (), root), _MANY) if root.is_dir() else ()
            known = any(_has(path, pattern) for path in files)
            self._has[root, pattern] = known
        return known

    def _table(
        self, name: str, root: Path
    ) -> tuple[str, dict[str, Facts | str] | None]:
        """The summary of the longest module that begins the name, and what is left."""
        parts = name.split(".")
        for count in range(len(parts) - 1, 0, -1):
            module = ".".join(parts[:count])
            key = (root, module)
            if key not in self._found:
                self._found[key] = self._load(root, module)
            table = self._found[key]
            if table is not None:
                return ".".join(parts[count:]), table
        return "", None

    def parsed(self, path: Path) -> tuple[str, ast.Module]:
        """What `read` answers; a file that was asked about before is not read again."""
        return self._parsed.pop(path.absolute(), None) or read(path)

    def _load(self, root: Path, module: str) -> dict[str, Facts | str] | None:
        first, *_ = parts = module.split(".")
        # A package without __init__.py does not say where it starts: its name does.
        starts = [up.parent for up in (root, *root.parents) if up.name == first]
        for start in (root, *starts):
            base = start.joinpath(*parts)
            for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
                if path.is_file():
                    try:
                        text, tree = self._parsed[path] = read(path)
                        return summary(Module(str(path), module, text, tree))
                    except (SourceError, RecursionError):
                        return {}
        return None


def _has(path: Path, pattern: re.Pattern[str]) -> bool:
    try:
        return bool(pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def summary(module: Module) -> dict[str, Facts | str]:
    """The functions of a module by qualified name, and what its imports stand for."""
    names = Names(module)
    calls: dict[Function, list[ast.Call]] = {}
    for found in module.calls.values():
        for call, function in found:
            calls.setdefault(function, []).append(call)
    table: dict[str, Facts | str] = {}
    for name, bindings in module.top.bindings.items():
        how, value = bindings[-1]
        if how == "import" and isinstance(value, str):
            table[name] = value
    for function in module.functions:
        node = function.node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = calls.get(function, [])
            table[function.name] = _facts(names, function, node, inside)
    return table


_KEEPING = frozenset(
    {
        *("staticmethod", "classmethod", "override", "abstractmethod", "final"),
        *("contextmanager", "asynccontextmanager", "cache", "deprecated"),
    }
)


def _keeps_signature(decorator: ast.expr) -> bool:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return dotted(node).rpartition(".")[2] in _KEEPING


def _keeps(
    names: Names, function: Function, node: ast.FunctionDef | ast.AsyncFunctionDef
) -> bool:
    taken = {names.annotation(arg.annotation, function) for arg in function.params}
    return SCOPE in taken or names.annotation(node.returns, function) in {
        CONTEXT,
        SCOPE,
    }


def _facts(
    names: Names,
    function: Function,
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    inside: list[ast.Call],
) -> Facts:
    contexts = names.context_params(function)
    positional = [*node.args.posonlyargs, *node.args.args]
    # A decorator that is not known may fill the context in.
    known = all(_keeps_signature(one) for one in node.decorator_list)
    takes = function.params.index(contexts[0]) if contexts and known else None
    optional = False
    if contexts:
        first = contexts[0]
        if first in positional:
            at = len(positional) - positional.index(first)
            optional = at <= len(node.args.defaults)
        else:
            default = node.args.kw_defaults[node.args.kwonlyargs.index(first)]
            optional = default is not None
    callees = [(call, names.callee(call, function)) for call in inside]
    return Facts(
        takes,
        optional,
        function.is_async,
        any(blocks(call, callee) for call, callee in callees),
        _keeps(names, function, node),
        tuple(callee for _, callee in callees if "." in callee),
    )
