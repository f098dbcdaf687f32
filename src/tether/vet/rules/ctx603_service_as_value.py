"""CTX603: something else than request metadata travels in the context."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function

_NAMES = frozenset(
    {
        *("config", "configuration", "settings", "conn", "connection", "engine"),
        *("logger", "pool", "client", "db", "database", "repository", "cursor"),
    }
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_KINDS = (
    *("aiohttp.ClientSession", "asyncpg.", "httpx.", "logging.Logger", "psycopg."),
    *("redis.", "requests.Session", "sqlalchemy.", "sqlite3.", "aiosqlite."),
    *("psycopg_pool.", "tether.ext.", "urllib3."),
)


def check(file: File) -> Iterator[Found]:
    """Report services, connections and functions that are stored as values."""
    for call, function in file.module.calls.get("with_value", ()):
        func = call.func
        if not isinstance(func, ast.Attribute) or len(call.args) != 2:
            continue
        if not file.names.is_context(func.value, function):
            continue
        what = _service(file, call.args[1], function)
        if what:
            yield Found(
                call.args[1],
                f"{what} is not metadata of a request: pass it as a parameter",
            )


def _service(file: File, node: ast.expr, function: Function) -> str:
    if isinstance(node, ast.Lambda):
        return "a function"
    if isinstance(node, ast.Name):
        bound = file.names.bindings(node.id, function)
        if bound and bound[0][0] in {"def", "class"}:
            return "a function" if bound[0][0] == "def" else "a class"
    kind = file.names.kind(node, function)
    if kind.startswith(_KINDS):
        return f"a {kind}"
    if kind and kind != "object":  # AppSettings, ConnectionPool
        words = _WORDS.findall(kind.rpartition(".")[2]) or [""]
        return f"a {kind}" if words[-1].lower() in _NAMES else ""
    last = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    token = last.lower().rpartition("_")[2]
    return f"`{ast.unparse(node)}`" if token in _NAMES else ""


RULE = Rule(
    code="CTX603",
    name="service-as-value",
    says="a connection, a configuration, a logger or a function is stored as a value",
    why="""\
Values are metadata of the request: ids, the trace, the user. What the code needs to
work is a parameter: a signature that hides it cannot be read, tested or typed.""",
    bad="""\
import sqlite3
from tether import Context, Key

DB: Key[sqlite3.Connection] = Key("db")

def handle(ctx: Context) -> None:
    page(ctx.with_value(DB, sqlite3.connect("shop.db")))
""",
    good="""\
import sqlite3
from tether import Context

def handle(ctx: Context, conn: sqlite3.Connection) -> None:
    page(ctx, conn)
""",
    check=check,
)
