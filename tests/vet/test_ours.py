"""What the linter knows of tether itself, held to what there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tether
import tether.ext
from tether.vet import Settings, check, check_text
from tether.vet._libraries import OURS
from tether.vet._ours import EXT, TAKES_CTX

EXTS = [name for _, name, _ in pkgutil.iter_modules(tether.ext.__path__)]
MODULES = ["tether", "tether.signals", "tether.wire", "tether.testing"]
MODULES += [f"tether.ext.{name}" for name in EXTS]


def asks_for_ctx(function: object) -> bool:
    """Whether `ctx` comes first and has no default."""
    try:
        params = [*inspect.signature(function).parameters.values()]  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    if params and params[0].name in {"self", "cls"}:
        del params[0]
    return (
        bool(params)
        and params[0].name == "ctx"
        and params[0].default is inspect.Parameter.empty
    )


def takers(module: ModuleType) -> Iterator[str]:
    """The public functions and methods of a module that take a context first."""
    public = [name for name in vars(module) if not name.startswith("_")]
    for name in getattr(module, "__all__", public):
        value = getattr(module, name)
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, callable):
                if not method.startswith("_") and asks_for_ctx(function):
                    yield f"{module.__name__}.{name}.{method}"
        elif callable(value) and asks_for_ctx(value):
            yield f"{module.__name__}.{name}"


def home(name: str) -> str:
    """The public module that a name of the table is in."""
    first, second, *rest = name.split(".")
    if second == "ext":
        return f"{first}.{second}.{rest[0]}"
    return f"{first}.{second}" if second.islower() and rest else first


@pytest.mark.parametrize("name", MODULES)
def test_the_table_has_what_takes_a_context_and_nothing_else(name: str) -> None:
    there = set(takers(importlib.import_module(name)))
    below = {taker for taker in TAKES_CTX if home(taker) == name}
    assert below == there


def test_names_inside_of_tether_are_there() -> None:
    for inner, public in OURS.items():
        module, _, name = inner.rpartition(".")
        outside = getattr(tether, public.partition(".")[2])
        assert getattr(importlib.import_module(module), name) is outside


BARE = """
import sqlite3, psycopg, pymysql, redis
from sqlalchemy.orm import Session
from tether import Context

def a(ctx: Context, conn: sqlite3.Connection) -> None:
    conn.execute("select 1")

def b(ctx: Context, conn: psycopg.Connection) -> None:
    conn.execute("select 1")

def c(ctx: Context, cursor: pymysql.Cursor) -> None:
    cursor.execute("select 1")

def d(ctx: Context, cache: redis.Redis) -> None:
    cache.blpop("jobs")

def e(ctx: Context, session: Session) -> None:
    session.commit()
"""


def test_a_cure_names_a_module_only_where_there_is_one() -> None:
    said = [f.message for f in check_text(BARE, "nowhere/shop.py", "CTX201")]
    assert len(said) == 5
    named = [m.partition("use tether.ext.")[2].partition(",")[0] for m in said]
    assert named == ["sqlite", "psycopg", "", "redis", "sqlalchemy"]
    assert set(named) - {""} <= set(EXT.values())


@pytest.mark.parametrize(
    ("typed", "call", "code", "cure"),
    [
        (
            "redis.Redis",
            "client.get('x')",
            "CTX201",
            "from tether.ext.redis import follow\nclient = follow(redis.Redis())",
        ),
        (
            "sqlalchemy.orm.Session",
            "client.commit()",
            "CTX201",
            "from tether.ext import sqlalchemy as alchemy\nalchemy.attach(engine)",
        ),
        (
            "requests.Session",
            "client.get('http://shop', timeout=3)",
            "CTX206",
            "from tether.ext.requests import Adapter\nhttp.mount('http://', Adapter())",
        ),
        (
            "httpx.Client",
            "client.get('http://shop')",
            "CTX206",
            "import tether.ext.httpx\nhttp = Client(transport=tether.ext.httpx.Transport())",
        ),
    ],
)
def test_a_library_that_obeys_current_is_left_alone(
    tmp_path: Path, typed: str, call: str, code: str, cure: str
) -> None:
    library = typed.partition(".")[0]
    user = f"""
import {library}
from tether import Context
def f(ctx: Context, client: {typed}) -> None:
    {call}
"""
    (tmp_path / "user.py").write_text(user, encoding="utf-8")
    settings = Settings(select=(code,), folder=tmp_path)
    assert [f.code for f in check([tmp_path], settings).findings] == [code]
    # Wherever in the project that is said, and whichever file is looked at.
    (tmp_path / "app.py").write_text(cure, encoding="utf-8")
    assert check([tmp_path / "user.py"], settings).findings == ()


@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("app = make_app()", ["CTX902"]),
        ("from tether.ext.asgi import Service\napp = Service(make_app())", []),
        ("from tether.ext.uvicorn import serve\nserve(make_app)", []),
    ],
)
def test_what_stops_by_a_signal_is_known(line: str, codes: list[str]) -> None:
    text = f"import asyncio\nfrom tether import background\n{line}\n"
    text += "asyncio.run(main(background()))\n"
    found = check_text(text, "nowhere/shop.py", "CTX902")
    assert [f.code for f in found] == codes
