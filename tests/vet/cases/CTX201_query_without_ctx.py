"""Statements without the context."""
import sqlite3

import aiosqlite
import psycopg
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from tether import Context
from tether.ext.sqlite import fetch_one, guard

engine = create_engine("postgresql:///shop")
cache = redis.Redis()


def by_id(ctx: Context, conn: psycopg.Connection, user: int) -> object:
    return conn.execute("select * from users where id = %s", (user,))  # error: CTX201


def by_cursor(ctx: Context, user: int) -> None:
    with psycopg.connect("dbname=shop") as conn, conn.cursor() as cursor:
        cursor.execute("select 1")  # error: CTX201


def by_engine(ctx: Context) -> None:
    with engine.connect() as conn:
        conn.execute(text("select 1"))  # error: CTX201


def by_session(ctx: Context, session: Session) -> None:
    session.commit()  # error: CTX201


def cached(ctx: Context, user: int) -> None:
    cache.get(f"user:{user}")  # error: CTX201


async def by_aiosqlite(ctx: Context, conn: aiosqlite.Connection) -> None:
    await conn.execute("select 1")  # error: CTX201


class Users:
    def __init__(self) -> None:
        self.conn = sqlite3.connect("shop.db")

    def all(self, ctx: Context) -> None:
        self.conn.execute("select * from users")  # error: CTX201


# Right:


def with_ctx(ctx: Context, conn: sqlite3.Connection) -> None:
    fetch_one(ctx, conn, "select 1")
    with ctx.interrupting(conn.interrupt):
        conn.execute("select 1")
    with guard(ctx, conn):
        conn.execute("select 1")


def handed_on(ctx: Context, conn: sqlite3.Connection) -> object:
    def ask() -> object:
        return conn.execute("select 1").fetchone()

    return run(ctx, ask) or run(ctx, lambda: conn.execute("select 2"))


def without(conn: sqlite3.Connection) -> None:
    conn.execute("create table users (id integer)")


def other(ctx: Context, command: object) -> None:
    command.execute()


def close(ctx: Context, conn: sqlite3.Connection) -> None:
    conn.commit()
