"""Statements without the context."""
import sqlite3

import aiosqlite
import psycopg
import redis
from sqlalchemy import create_engine, text
from psycopg_pool import ConnectionPool
from sqlalchemy.orm import Session, sessionmaker

from tether import Context
from tether.ext import psycopg as pg
from tether.ext import sqlalchemy as alchemy
from tether.ext.redis import call
from tether.ext.sqlite import fetch_one, guard

engine = create_engine("postgresql:///shop")
cache = redis.Redis()
pool = ConnectionPool("dbname=shop")
Sessions = sessionmaker(engine)


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


def by_maker(ctx: Context) -> None:
    with Sessions() as session:
        session.execute(text("select 1"))  # error: CTX201
    with Sessions.begin() as session:
        session.execute(text("select 1"))  # error: CTX201


def by_pool(ctx: Context) -> None:
    with pool.connection() as conn:  # error: CTX201
        conn.execute("select 1")  # error: CTX201


def popped(ctx: Context) -> None:
    cache.blpop("jobs")  # error: CTX201
    with cache.pipeline() as pipe:
        pipe.incr("hits").expire("hits", 60)
        pipe.execute()  # error: CTX201
    cache.pubsub().get_message(timeout=1.0)  # error: CTX201


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


def at_once(ctx: Context) -> object:
    return pool.getconn(timeout=0.01)


def by_ours(ctx: Context, conn: psycopg.Connection) -> None:
    pg.execute(ctx, pool, "select 1")
    with pg.transaction(ctx, pool) as lent:
        lent.execute("select 1")
    with pg.guard(ctx, conn):
        conn.execute("select 1")
    alchemy.execute(ctx, engine, text("select 1"))
    call(ctx, cache.blpop, "jobs")


async def in_a_task(ctx: Context, conn: psycopg.AsyncConnection) -> None:
    await conn.execute("select 1")  # the block interrupts it


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
