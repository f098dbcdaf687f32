"""The callee takes a context, the caller does not pass its own."""
from tether import Context, Group, Queue, wait_for
from tether.ext import psycopg as pg
from tether.ext import redis, subprocess
from tether.ext.httpx import Client
from tether.ext.sqlite import fetch_one


def reserve(ctx: Context, item: int, count: int = 1) -> int: ...


async def notify(ctx: Context, user: int) -> None: ...


def hint(ctx: Context | None = None) -> None: ...


class Stock:
    def take(self, ctx: Context, item: int) -> None: ...

    def order(self, ctx: Context, item: int) -> None:
        self.take(item)  # error: CTX102
        self.take(ctx, item)


def buy(ctx: Context, item: int) -> int:
    return reserve(item, count=2)  # error: CTX102


def empty(ctx: Context) -> None:
    hint()  # error: CTX102


async def checkout(ctx: Context, user: int, stock: Stock) -> None:
    with ctx.with_timeout(2.0) as budget:
        await notify(user)  # error: CTX102
        stock.take(user)  # error: CTX102
    await wait_for(user)  # error: CTX102


def find(ctx: Context, conn: object) -> None:
    fetch_one(conn, "select 1")  # error: CTX102


class Shop:
    def __init__(self) -> None:
        self.http = Client()

    def ask(self, ctx: Context, pool: object) -> None:
        self.http.get("http://shop")  # error: CTX102
        pg.fetch_one(pool, "select 1")  # error: CTX102
        redis.call(print, "x")  # error: CTX102
        subprocess.run(["convert"])  # error: CTX102


# Right:


def fine(ctx: Context, item: int, given: list[object]) -> None:
    reserve(ctx, item)
    reserve(ctx.with_timeout(1.0), item)
    reserve(ctx=ctx, item=item)
    reserve(*given)
    with Group(ctx) as group:
        group.go(reserve, item)
    with ctx.with_timeout(1.0) as budget:
        reserve(budget, item)
    own = ctx.without_cancel()
    reserve(own, item)


def root(item: int) -> None:
    reserve(item)  # no context at hand: the type checker's business


@with_request_context
def filled_in(ctx: Context, item: int) -> None: ...


def calls_it(ctx: Context) -> None:
    filled_in(1)
