"""CTX201: a statement is sent to a database without the context at hand."""

from __future__ import annotations

from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._ours import EXT, obeys
from .._shapes import is_shutdown
from .._waits import QUERIES, is_bounded

_METHODS = sorted({query.rpartition(".")[2] for query in QUERIES})


def check(file: File) -> Iterator[Found]:
    """Report calls of drivers in functions that were given a context."""
    for call, function, callee in file.calls(*_METHODS):
        if callee not in QUERIES:
            continue
        if callee.startswith("psycopg_pool.") and is_bounded(call, ("timeout", 0)):
            continue
        ctx = file.given(function)
        if not ctx or file.carries(call, function):
            continue
        if is_shutdown(file, call, function):
            continue
        library = callee.partition(".")[0]
        if obeys(file, library):
            continue
        cure = f"wrap it in {ctx}.interrupting(...)"
        if library in EXT:
            cure = f"use tether.ext.{EXT[library]}, or {cure}"
        yield Found(call, f"this {library} call runs on when {ctx} ends: {cure}")


RULE = Rule(
    code="CTX201",
    name="query-without-ctx",
    says="a database is asked without the context at hand",
    why="""\
In a thread nothing can be interrupted from outside, and a time limit around the call
ends the waiting, not the query: it goes on in the server and keeps its connection.
Every statement carries the context, and so does the wait for a connection. Looks at
psycopg and its pools, psycopg2, pymysql, MySQLdb, sqlite3, aiosqlite, SQLAlchemy, redis
and pymongo, as far as they block a thread. Silent where the project makes them obey
`current()`: by `attach` of tether.ext.sqlalchemy, by `follow` of tether.ext.redis.""",
    bad="""\
import sqlite3
from tether import Context

def find(ctx: Context, conn: sqlite3.Connection, user: int) -> object:
    return conn.execute("select * from users where id = ?", (user,)).fetchone()
""",
    good="""\
import sqlite3
from tether import Context
from tether.ext.sqlite import fetch_one

def find(ctx: Context, conn: sqlite3.Connection, user: int) -> object:
    return fetch_one(ctx, conn, "select * from users where id = ?", (user,))
""",
    check=check,
)
