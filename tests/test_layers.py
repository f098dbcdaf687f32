"""Who may import whom. Each module knows only what stands left of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tether"

# From the ground up; a module may import those before it.
CORE = [
    *["_errors", "_keys", "_clock", "_checks"],
    *[
        "_live",
        "_watching",
        "_pool",
        "_threads",
        "_tree",
        "_signal",
        "_timers",
        "_foreign",
        "_describe",
    ],
    *["_current", "_loops", "_interrupt", "_hooks", "_interrupting", "_bind"],
    *["_context", "_scope", "_roots", "_overdue", "_behalf", "_route"],
    *["_line", "_semaphore", "_queue", "_wait_for", "_merge"],
    *["_awaits", "_tasks", "_where", "_left", "_outlast", "_to_thread"],
    *[
        "_bell",
        "_handle",
        "_piece",
        "_turns",
        "_block",
        "_crew",
        "_group",
        "_waitgroup",
    ],
    *["signals", "_listener", "_program", "_run"],
    *["_calls", "_stopping", "_postgres", "_sqlite", "_fetching", "_elsewhere", "wire"],
    *["_message"],
]
# These may import the core, and nothing of each other; vet imports only itself.
TOOLS = ["ext", "testing", "vet", "debug"]
# Other people's packages, where the module's name does not say it.
LIBRARIES = {
    "testing": {"_pytest", "pytest", "uvloop"},
    "cli": {"click", "rich"},
    "ext.asgi": set(),
    "ext.dask": {"dask", "distributed"},
    "ext.django": {"asgiref", "django"},
    "ext.grpc": {"grpc", "prometheus_client"},
    "ext.httpx": {"httpx", "httpx2"},
    "ext.logging": set(),
    "ext.otel": {"opentelemetry"},
    "ext.prometheus": {"prometheus_client"},
    "ext.psycopg": {"psycopg", "psycopg_pool"},
    "ext.requests": {"requests", "urllib3"},
    "ext.sqlite": {"aiosqlite"},
    "ext.subprocess": set(),
    "ext.uvicorn": {"h11", "uvicorn"},
    "ext.wsgi": set(),
}

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def source(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(module: str) -> Iterator[str]:
    """Every name imported, absolute; imports for type checkers alone do not count."""
    path = source(module)
    package = path.relative_to(PACKAGE.parent).parent.parts
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif is_for_types(node):
            assert isinstance(node, ast.If)
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))


def unit(module: str) -> str:
    """The part of the package that a module belongs to: _tree, ext.asgi, testing."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "ext" else parts[0]


def allowed(module: str) -> set[str]:
    """The parts that a module may import; '' is the package itself."""
    me = unit(module)
    if me in CORE:
        return set(CORE[: CORE.index(me)])
    if me == "__init__":
        return set(CORE)
    if me == "__main__":
        return {"cli"}
    if me == "vet":
        return {"vet"}
    if me == "cli":
        # Of the integrations those that it puts together: uvicorn and an ASGI service.
        served = {"ext.asgi", "ext.uvicorn"}
        return {"", *CORE, "testing", "vet", "debug", "cli", *served}
    assert me.split(".")[0] in TOOLS, f"{module} has no place yet: give it one here"
    return {"", *CORE, me}


def target(name: str) -> str:
    """The part of the package that an imported name of ours comes from."""
    rest = name.removeprefix("tether").removeprefix(".")
    known = {unit(module) for module in MODULES} | {"ext"}
    return unit(rest) if unit(rest) in known or rest.startswith("ext.") else ""


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    may = allowed(module)
    libraries = LIBRARIES.get(unit(module), set())
    if module.startswith("ext."):
        libraries = libraries or {unit(module).removeprefix("ext.")}
    wrong = []
    for name in imports(module):
        root = name.split(".")[0]
        if root == "tether":
            if target(name) not in may and target(name) != module:
                wrong.append(name)
        elif root not in sys.stdlib_module_names | libraries:
            wrong.append(name)
    assert not wrong, f"tether.{module} must not import {', '.join(wrong)}"


PROBE = """
import sys, threading
before = set(sys.modules)
import tether
roots = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(roots - set(sys.stdlib_module_names) - {"tether"}))
print(sorted(n for n in sys.modules if n.startswith("tether.") and n.count(".") > 1))
print([thread.name for thread in threading.enumerate()])
"""


def test_import_brings_only_the_standard_library_and_starts_no_thread() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == ["[]", "[]", "['MainThread']"]
