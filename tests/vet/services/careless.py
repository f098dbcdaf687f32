"""A service with the usual mistakes, each reported once and by one rule."""
import asyncio
import queue
import sqlite3
import time
import urllib.request

import requests
from starlette.requests import Request
from starlette.responses import JSONResponse

from tether import Context, Group, Key, background, current

DB: Key[sqlite3.Connection] = Key("db")
jobs: queue.Queue[int] = queue.Queue()
http = requests.Session()


class Repository:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx  # error: CTX105
        self.conn = sqlite3.connect("shop.db")

    def find(self, ctx: Context, user: int) -> object:
        return self.conn.execute("select ?", (user,)).fetchone()  # error: CTX201


def log_slowly() -> None:
    time.sleep(1.0)


def prices(item: int, ctx: Context) -> object:  # error: CTX103
    log_slowly()  # error: CTX107
    return http.get(f"http://prices/{item}", timeout=10.0).json()  # error: CTX206


def exchange_rate() -> bytes:
    return urllib.request.urlopen("http://rates").read()  # error: CTX202


def find(ctx: Context, repository: Repository, user: int) -> object:
    query = ctx.with_timeout(0.5)  # error: CTX301
    row = repository.find(query, user)
    query.cancel()
    return row


async def checkout(ctx: Context, user: int) -> JSONResponse:
    with ctx.with_timeout(2.0) as budget:
        row = await asyncio.to_thread(find, budget, Repository(budget), user)
        other = find(ctx, Repository(budget), user)  # error: CTX305
    asyncio.create_task(audit(ctx, user))  # error: CTX701
    return JSONResponse([row, other])


async def audit(ctx: Context, user: int) -> None:
    await asyncio.sleep(1.0)
    write(ctx.without_cancel(), user)  # error: CTX702


def write(ctx: Context, user: int) -> None:
    while True:
        try:
            return store(ctx, user)
        except Exception:  # error: CTX502
            print("once more")


def store(ctx: Context, user: int) -> None:
    ctx.with_timeout(1.0)  # error: CTX302
    page = ctx.with_value("user", user)  # error: CTX601
    page = page.with_value(DB, sqlite3.connect("shop.db"))  # error: CTX603
    flush(user)  # error: CTX102


def flush(ctx: Context, user: int) -> None:
    job = jobs.get()  # error: CTX203
    if job:
        flush(None, user)  # error: CTX104


async def handler(request: Request) -> JSONResponse:
    return await checkout(background(), 1)  # error: CTX101


def worker(ctx: Context, items: list[int]) -> None:
    for item in items:
        ctx = ctx.with_value(Key("item"), item)  # error: CTX304, CTX602
        flush(ctx, item)


def fan_out(ctx: Context) -> None:
    group = Group(ctx)  # error: CTX403
    group.go(flush, 1)
    flush(ctx, 2)
    group.wait()


def serve(ctx: Context, workers: object) -> None:
    ctx.wait()
    with ctx.with_timeout(30.0) as grace:  # error: CTX903
        workers.drain(grace)
    workers.report(grace)  # error: CTX306


async def consume(bus: asyncio.Queue[int]) -> None:
    while True:
        try:
            await handle(await bus.get())
        except asyncio.CancelledError:  # error: CTX503
            print("interrupted")


async def handle(item: int) -> None:
    async with asyncio.timeout(1.0):
        await asyncio.to_thread(exchange_rate)  # error: CTX205
    print(current().remaining())
