"""tether's own operations, ended at every place: each passes."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from typing import Any

import aiosqlite
import grpc
import pytest

from tether import (
    Context,
    Group,
    Queue,
    Semaphore,
    Signal,
    WaitGroup,
    merge,
    to_thread,
    wait_for,
    wait_for_async,
)
from tether.ext import aiohttp as ext_aiohttp
from tether.ext import grpc as ext_grpc
from tether.ext import httpx as ext_httpx
from tether.ext.asgi import ContextMiddleware
from tether.ext.sqlite import execute_async, fetch_all, fetch_all_async
from tether.ext.subprocess import run_async
from tether.testing import Report, Verdict, sweep

pytestmark = pytest.mark.tether_leaks(off=True)  # the sweep looks itself


def passes(report: Report) -> None:
    assert report.verdict is Verdict.PASS, str(report)
    assert not report.noise, str(report)


def is_free(semaphore: Semaphore) -> None:
    assert semaphore.try_acquire(2), "a permit is lost"
    semaphore.release(2)


# -- primitives, in tasks ----------------------------------------------------------


async def permit(ctx: Context, semaphore: Semaphore) -> None:
    await semaphore.acquire_async(ctx, 2)
    try:
        await ctx.sleep_async(1.0)
    finally:
        semaphore.release(2)


async def held(ctx: Context, semaphore: Semaphore) -> None:
    async def work(ctx: Context) -> None:
        async with semaphore.held(ctx, 2):
            await ctx.sleep_async(1.0)

    async with Group(ctx) as group:
        for _ in range(3):  # they hand it over to each other
            group.go(work)


@pytest.mark.parametrize("op", [permit, held])
def test_semaphore(op: Callable[..., Awaitable[None]]) -> None:
    passes(sweep(op, setup=lambda: Semaphore(2), check=is_free, twice=True))


async def through_a_queue(ctx: Context, queue: Queue[int]) -> None:
    async def put(ctx: Context) -> None:
        for number in range(4):
            await queue.put_async(ctx, number)

    async def get(ctx: Context) -> None:
        for _ in range(4):
            await queue.get_async(ctx)
            await ctx.sleep_async(0.1)

    async with Group(ctx) as group:
        group.go(put)
        group.go(get)


def test_queue() -> None:
    report = sweep(through_a_queue, setup=lambda: Queue[int](1), twice=True)
    passes(report)


async def sleeps(ctx: Context) -> None:
    await ctx.sleep_async(1.0)
    await ctx.wait_async(1.0)
    with ctx.with_timeout(5.0) as inner:
        await asyncio.sleep(1.0)
        await inner.sleep_async(1.0)


async def waits_for_others(ctx: Context) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    timer = loop.call_later(1.0, lambda: future.done() or future.set_result(1))
    try:
        await wait_for_async(ctx, future)
    finally:
        timer.cancel()
    signal = Signal()
    timer = loop.call_later(1.0, signal.set)
    try:
        await wait_for_async(ctx, signal)
    finally:
        timer.cancel()


async def in_a_thread(ctx: Context) -> None:
    await to_thread(ctx, lambda ctx: ctx.sleep(1.0))


async def merged(ctx: Context) -> None:
    with ctx.with_timeout(60.0) as one, ctx.with_cancel() as two:
        with merge(one, two) as both:
            await both.sleep_async(1.0)


async def interrupting(ctx: Context) -> None:
    called: list[int] = []
    async with ctx.interrupting(lambda: called.append(1)):
        await asyncio.sleep(1.0)


async def detached_below(ctx: Context) -> None:
    with ctx.without_cancel().with_timeout(5.0):
        await asyncio.sleep(1.0)
    await ctx.sleep_async(1.0)


@pytest.mark.parametrize(
    "op",
    [sleeps, waits_for_others, in_a_thread, merged, interrupting, detached_below],
    ids=lambda op: op.__name__,
)
def test_waits(op: Callable[..., Awaitable[None]]) -> None:
    passes(sweep(op, twice=True))


# -- groups ------------------------------------------------------------------------


async def work(ctx: Context) -> int:
    await ctx.sleep_async(1.0)
    return 1


def blocking_work(ctx: Context) -> int:
    ctx.sleep(1.0)
    return 1


async def group(ctx: Context) -> None:
    async with Group(ctx, limit=2) as group:
        handles = [group.go(work) for _ in range(3)]
        handles.append(group.go(blocking_work))
    assert [handle.result() for handle in handles] == [1, 1, 1, 1]


async def waitgroup(ctx: Context) -> None:
    async with WaitGroup(ctx, limit=2) as group:
        for _ in range(3):
            group.go(work)


async def nested(ctx: Context) -> None:
    async def inner(ctx: Context) -> None:
        async with Group(ctx) as group:
            group.go(work)
            group.go(work)

    async with Group(ctx) as group:
        group.go(inner)
        group.go(inner)
        await work(group.ctx)


@pytest.mark.parametrize("op", [group, waitgroup, nested], ids=lambda op: op.__name__)
def test_groups(op: Callable[..., Awaitable[None]]) -> None:
    passes(sweep(op, twice=True))


# -- threads -----------------------------------------------------------------------


def thread_primitives(ctx: Context, semaphore: Semaphore) -> None:
    with semaphore.held(ctx, 2), ctx.with_timeout(60.0) as budget:
        budget.sleep(1.0)
        budget.wait(1.0)
        queue: Queue[int] = Queue(1)
        queue.put(budget, 1)
        assert queue.get(budget) == 1
        budget.check()
        with budget.interrupting(lambda: None):
            budget.require(1.0)
        signal = Signal()
        signal.set()
        wait_for(budget, signal)


def thread_group(ctx: Context) -> None:
    with Group(ctx, limit=2) as group:
        for _ in range(3):
            group.go(blocking_work)


def thread_query(ctx: Context, connection: sqlite3.Connection) -> None:
    assert fetch_all(ctx, connection, "select 1") == [(1,)]
    assert fetch_all(ctx, connection, "select 2") == [(2,)]


def connect() -> AbstractContextManager[sqlite3.Connection]:
    return closing(sqlite3.connect(":memory:", check_same_thread=False))


def test_primitives_in_threads() -> None:
    passes(sweep(thread_primitives, setup=lambda: Semaphore(2), check=is_free))


def test_groups_in_threads() -> None:
    passes(sweep(thread_group))


def test_sqlite_in_threads() -> None:
    passes(sweep(thread_query, setup=connect))


# -- what calls others ---------------------------------------------------------------


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


@asynccontextmanager
async def with_httpx() -> AsyncIterator[tuple[Any, str]]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, ext_httpx.AsyncClient() as http:
        yield http, f"http://{host}:{port}/"


@asynccontextmanager
async def with_aiohttp() -> AsyncIterator[tuple[Any, str]]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, ext_aiohttp.ClientSession() as http:
        yield http, f"http://{host}:{port}/"


async def get(ctx: Context, state: tuple[Any, str]) -> None:
    http, url = state
    response = await http.get(ctx, url)
    text = response.text
    assert (text if isinstance(text, str) else await text()) == "ok"


@asynccontextmanager
async def database() -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("create table seats (number integer)")
        yield connection


async def statements(ctx: Context, connection: aiosqlite.Connection) -> None:
    await execute_async(ctx, connection, "delete from seats")
    await execute_async(ctx, connection, "insert into seats values (7)")
    assert await fetch_all_async(ctx, connection, "select * from seats") == [(7,)]


async def process(ctx: Context) -> None:
    done = await run_async(ctx, [sys.executable, "-S", "-c", "print(1)"])
    assert done.returncode == 0


async def application(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(1.0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def request() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, object]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await ContextMiddleware(application, timeout=30.0)(scope, receive, send)
    assert sent


@pytest.mark.parametrize("setup", [with_httpx, with_aiohttp])
def test_http_clients(setup: Callable[[], object]) -> None:
    report = sweep(get, setup=setup, real_time=True, limit=30.0)
    assert not report.findings, str(report)
    assert report.reached >= 2


@pytest.fixture(scope="module")
def stock() -> Iterator[str]:
    """A server of gRPC, outside of what is swept."""
    get: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: b"ok")
    with ThreadPoolExecutor(4) as threads:
        # All of them are there before, as one that comes later is found to be left.
        all_at_once = threading.Barrier(4)
        for waiting in [threads.submit(all_at_once.wait) for _ in range(4)]:
            waiting.result()
        server = grpc.server(threads)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("shop.Stock", {"Get": get}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


async def calls(ctx: Context, method: Any) -> None:
    assert await ext_grpc.call_async(ctx, method, b"") == b"ok"


def calls_in_a_thread(ctx: Context, method: Any) -> None:
    assert ext_grpc.call(ctx, method, b"") == b"ok"


def test_grpc(stock: str) -> None:
    @asynccontextmanager
    async def method() -> AsyncIterator[Any]:
        async with grpc.aio.insecure_channel(stock) as channel:
            yield channel.unary_unary("/shop.Stock/Get")

    report = sweep(calls, setup=method, real_time=True, limit=30.0)
    assert not report.findings, str(report)
    assert report.reached >= 1, str(report)


def test_grpc_in_threads(stock: str) -> None:
    @contextmanager
    def method() -> Iterator[Any]:
        with grpc.insecure_channel(stock) as channel:
            yield channel.unary_unary("/shop.Stock/Get")

    report = sweep(calls_in_a_thread, setup=method)
    assert not report.findings, str(report)
    assert report.delivered, str(report)


def test_aiosqlite() -> None:
    passes(sweep(statements, setup=database))


def test_subprocess() -> None:
    report = sweep(process, real_time=True, limit=30.0)
    assert not report.findings, str(report)
    assert report.delivered


def test_the_asgi_middleware() -> None:
    passes(sweep(request, twice=True))
