"""The shop's database: every statement of it, each with the context it belongs to.

One SQLite file and a connection for each thread. All functions are for threads; the
handlers call them by `to_thread(ctx, find_user, 7)`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tether import Context
from tether.ext.sqlite import execute, fetch_all, fetch_one, guard

USERS = 1000
PRODUCTS = 100
CARTS = 200

SCHEMA = """
    pragma journal_mode = wal;
    create table users (id integer primary key, name text);
    create table products (id integer primary key, name text, price integer);
    create table carts (id integer primary key, items text);
    create table pictures (data blob);
    create table orders (id text primary key, cart integer, total integer);
    create table payments (id text primary key, user text);
"""


@dataclass(frozen=True)
class Cart:
    """What somebody has put into the basket, with the pictures to show it."""

    id: int
    items: list[int]
    pictures: bytes


def create(ctx: Context, path: Path, weight: int) -> None:
    """Make the file; a cart's pictures have `weight` bytes."""
    db = sqlite3.connect(path)
    with guard(ctx, db), db:
        db.executescript(SCHEMA)
        users = ((n, f"user {n}") for n in range(USERS))
        db.executemany("insert into users values (?, ?)", users)
        products = ((n, f"product {n}", 99 + 100 * n) for n in range(PRODUCTS))
        db.executemany("insert into products values (?, ?, ?)", products)
        carts = ((n, json.dumps([n % 90 + 1, n % 90 + 2])) for n in range(CARTS))
        db.executemany("insert into carts values (?, ?)", carts)
        db.execute("insert into pictures values (zeroblob(?))", (weight,))
    db.close()


class Connection(sqlite3.Connection):
    """One that is closed when nobody has it any more: when its thread has ended."""

    def __del__(self) -> None:
        self.close()


_of_thread = threading.local()


def connection(ctx: Context) -> sqlite3.Connection:
    """This thread's connection."""
    db: Connection | None = getattr(_of_thread, "db", None)
    if db is None:
        # Interrupted from another thread, used by this one only.
        db = sqlite3.connect(
            os.environ["DEMO_DATABASE"],
            check_same_thread=False,
            isolation_level=None,
            factory=Connection,
        )
        execute(ctx, db, "pragma cache_size = -200")
        execute(ctx, db, "pragma synchronous = normal")
        _of_thread.db = db
    return db


@contextmanager
def transaction(ctx: Context, db: sqlite3.Connection) -> Iterator[None]:
    """A block that is written as a whole, commit included, within `ctx`, or not."""
    execute(ctx, db, "begin immediate")
    try:
        yield
        execute(ctx, db, "commit")
    except BaseException:
        db.rollback()  # nothing if the interrupted statement has done so
        raise


# -- what is read --------------------------------------------------------------------


def find_user(ctx: Context, user: int) -> dict[str, object] | None:
    """A user, None if there is none; `DeadlineExceeded` says something else."""
    row = fetch_one(
        ctx, connection(ctx), "select name from users where id = ?", (user,)
    )
    return None if row is None else {"id": user, "name": row[0]}


def find_product(ctx: Context, product: int) -> dict[str, object]:
    """A product's info; `KeyError` if there is none."""
    sql = "select name, price from products where id = ?"
    row = fetch_one(ctx, connection(ctx), sql, (product,))
    if row is None:
        raise KeyError(product)
    return {"id": product, "name": row[0], "price": row[1]}


def find_cart(ctx: Context, cart: int) -> Cart | None:
    """A cart with its pictures, None if there is none."""
    sql = "select items, data from carts, pictures where id = ?"
    row = fetch_one(ctx, connection(ctx), sql, (cart,))
    if row is None:
        return None
    items, pictures = row
    assert isinstance(items, str)
    assert isinstance(pictures, bytes)
    return Cart(cart, json.loads(items), pictures)


def find_prices(ctx: Context) -> list[int]:
    """The prices of all products."""
    rows = fetch_all(ctx, connection(ctx), "select price from products")
    return [int(str(price)) for (price,) in rows]


# -- what is written -----------------------------------------------------------------


def save_order(ctx: Context, order: str, cart: Cart) -> None:
    """Write an order and what it costs, or nothing."""
    db = connection(ctx)
    with transaction(ctx, db):
        total = sum(int(str(find_product(ctx, item)["price"])) for item in cart.items)
        row = order, cart.id, total
        execute(ctx, db, "insert or ignore into orders values (?, ?, ?)", row)


def record_payment(ctx: Context, payment: str, user: str) -> None:
    """Write that a payment was captured."""
    db = connection(ctx)
    with transaction(ctx, db):
        row = payment, user
        execute(ctx, db, "insert or ignore into payments values (?, ?)", row)
