"""The shop's data: every statement of it, each with the context it belongs to.

All functions are for threads; the handlers call them by `to_thread(ctx, find_user, 7)`.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from demo.databases import Database, database
from tether import Context

USERS = 1000
PRODUCTS = 100
CARTS = 200

SCHEMA = """
    create table users (id integer primary key, name text);
    create table products (id integer primary key, name text, price integer);
    create table carts (id integer primary key, items text);
    create table pictures (data {bytes});
    create table orders (id text primary key, cart integer, total integer);
    create table payments (id text primary key, "user" text);
"""


@dataclass(frozen=True)
class Cart:
    """What somebody has put into the basket, with the pictures to show it."""

    id: int
    items: list[int]
    pictures: bytes


def create(ctx: Context, where: str, weight: int) -> None:
    """Make the tables and fill them; a cart's pictures have `weight` bytes."""
    name_of_bytes = "bytea" if where.startswith("postgresql:") else "blob"
    users = ((n, f"user {n}") for n in range(USERS))
    products = ((n, f"product {n}", 99 + 100 * n) for n in range(PRODUCTS))
    carts = ((n, json.dumps([n % 90 + 1, n % 90 + 2])) for n in range(CARTS))
    with closing(database(where)) as shop, shop.transaction(ctx) as db:
        for statement in SCHEMA.format(bytes=name_of_bytes).split(";")[:-1]:
            db.execute(ctx, statement)
        db.execute_many(ctx, "insert into users values (?, ?)", users)
        db.execute_many(ctx, "insert into products values (?, ?, ?)", products)
        db.execute_many(ctx, "insert into carts values (?, ?)", carts)
        db.execute(ctx, "insert into pictures values (?)", (bytes(weight),))


@cache
def shop_database() -> Database:
    """The one that this process was given."""
    return database(os.environ["DEMO_DATABASE"])


# -- what is read --------------------------------------------------------------------


def find_user(ctx: Context, user: int) -> dict[str, object] | None:
    """A user, None if there is none; `DeadlineExceeded` says something else."""
    sql = "select name from users where id = ?"
    row = shop_database().fetch_one(ctx, sql, (user,))
    return None if row is None else {"id": user, "name": row[0]}


def find_product(
    ctx: Context, product: int, db: Database | None = None
) -> dict[str, object]:
    """A product's info; `KeyError` if there is none."""
    sql = "select name, price from products where id = ?"
    row = (db or shop_database()).fetch_one(ctx, sql, (product,))
    if row is None:
        raise KeyError(product)
    return {"id": product, "name": row[0], "price": row[1]}


def find_cart(ctx: Context, cart: int) -> Cart | None:
    """A cart with its pictures, None if there is none."""
    sql = "select items, data from carts, pictures where id = ?"
    row = shop_database().fetch_one(ctx, sql, (cart,))
    if row is None:
        return None
    items, pictures = row
    assert isinstance(items, str)
    assert isinstance(pictures, bytes)
    return Cart(cart, json.loads(items), pictures)


def find_prices(ctx: Context) -> list[int]:
    """The prices of all products."""
    rows = shop_database().fetch_all(ctx, "select price from products")
    return [int(str(price)) for (price,) in rows]


# -- what is written -----------------------------------------------------------------


def save_order(ctx: Context, order: str, cart: Cart) -> None:
    """Write an order and what it costs, or nothing."""
    with shop_database().transaction(ctx) as db:
        prices = [find_product(ctx, item, db)["price"] for item in cart.items]
        row = order, cart.id, sum(int(str(price)) for price in prices)
        sql = "insert into orders values (?, ?, ?) on conflict do nothing"
        db.execute(ctx, sql, row)


def record_payment(ctx: Context, payment: str, user: str) -> None:
    """Write that a payment was captured."""
    sql = "insert into payments values (?, ?) on conflict do nothing"
    with shop_database().transaction(ctx) as db:
        db.execute(ctx, sql, (payment, user))
