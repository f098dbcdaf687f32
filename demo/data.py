"""The database of both gateways: one SQLite file, a connection a thread."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

FIND_USER = "select id, name from users where id = ?"
FIND_PRODUCT = "select id, name, price from products where id = ?"

# Joins numbers with themselves: some seconds of honest work, and no rows of interest.
REPORT = """
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000000)
    select count(*), sum(i) from n
"""

_of_thread = threading.local()


def create(path: Path) -> None:
    """Make the file, with a thousand users and a hundred products."""
    with sqlite3.connect(path) as db:
        db.execute("create table users (id integer primary key, name text)")
        names = ((n, f"user {n}") for n in range(1000))
        db.executemany("insert into users values (?, ?)", names)
        db.execute("create table products (id integer primary key, name, price)")
        products = ((n, f"product {n}", 99 + 100 * n) for n in range(100))
        db.executemany("insert into products values (?, ?, ?)", products)
    db.close()


def connection() -> sqlite3.Connection:
    """This thread's connection."""
    db: sqlite3.Connection | None = getattr(_of_thread, "db", None)
    if db is None:
        # Interrupted from another thread, used by this one only.
        db = sqlite3.connect(os.environ["DEMO_DATABASE"], check_same_thread=False)
        _of_thread.db = db
    return db
