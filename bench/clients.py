"""A small GET on a kept connection: CPU of the calling thread, ns."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from functools import cache
from time import thread_time_ns as cpu

from bench._measure import Case, Effort, Side
from tether import background

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@cache
def url() -> str:
    """A server in threads of this process; its CPU time is not counted."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):  # a request comes in one piece
                connection.sendall(ANSWER)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def timed(call: Callable[[], object], n: int) -> int:
    """The CPU time of n calls, after one that opens the connection."""
    call()
    began = cpu()
    for _ in range(n):
        call()
    return cpu() - began


async def timed_async(
    call: Callable[[], Coroutine[object, None, object]], n: int
) -> int:
    """The same in a task."""
    await call()
    began = cpu()
    for _ in range(n):
        await call()
    return cpu() - began


# -- in a thread ---------------------------------------------------------------------


def httpx_plain(n: int) -> int:
    import httpx

    with httpx.Client() as http:
        return timed(lambda: http.get(url()), n)


def httpx_tether(n: int) -> int:
    from tether.ext.httpx import Client

    with Client() as http, background().with_timeout(60.0) as ctx:
        return timed(lambda: http.get(ctx, url()), n)


def requests_plain(n: int) -> int:
    import requests

    with requests.Session() as http:
        return timed(lambda: http.get(url()), n)


def requests_tether(n: int) -> int:
    from tether.ext.requests import Session

    with Session() as http, background().with_timeout(60.0) as ctx:
        return timed(lambda: http.get(ctx, url()), n)


# -- in a task -----------------------------------------------------------------------


async def httpx_plain_async(n: int) -> int:
    import httpx

    async with httpx.AsyncClient() as http:
        return await timed_async(lambda: http.get(url()), n)


async def httpx_timeout_async(n: int) -> int:
    import httpx

    async with httpx.AsyncClient() as http:

        async def get() -> None:
            async with asyncio.timeout(60.0):
                await http.get(url())

        return await timed_async(get, n)


async def httpx_tether_async(n: int) -> int:
    from tether.ext.httpx import AsyncClient

    async with AsyncClient() as http:
        with background().with_timeout(60.0) as ctx:
            return await timed_async(lambda: http.get(ctx, url()), n)


async def aiohttp_plain_async(n: int) -> int:
    import aiohttp

    async with aiohttp.ClientSession() as http:

        async def get() -> None:
            async with http.get(url()) as response:
                await response.read()

        return await timed_async(get, n)


async def aiohttp_tether_async(n: int) -> int:
    from tether.ext.aiohttp import ClientSession

    async with ClientSession() as http:
        with background().with_timeout(60.0) as ctx:

            async def get() -> None:
                async with http.get(ctx, url()) as response:
                    await response.read()

            return await timed_async(get, n)


def cases(_: Effort) -> list[Case]:
    return [
        Case(
            "httpx in a thread",
            "httpx.Client",
            [
                Side("httpx.Client", httpx_plain),
                Side("tether.ext.httpx.Client", httpx_tether),
            ],
        ),
        Case(
            "requests",
            "requests.Session",
            [
                Side("requests.Session", requests_plain),
                Side("tether.ext.requests.Session", requests_tether),
            ],
        ),
        Case(
            "httpx in a task",
            "httpx.AsyncClient",
            [
                Side("httpx.AsyncClient", httpx_plain_async, "asyncio"),
                Side("in asyncio.timeout", httpx_timeout_async, "asyncio"),
                Side("tether.ext.httpx.AsyncClient", httpx_tether_async, "asyncio"),
            ],
        ),
        Case(
            "aiohttp",
            "aiohttp.ClientSession",
            [
                Side("aiohttp.ClientSession", aiohttp_plain_async, "asyncio"),
                Side(
                    "tether.ext.aiohttp.ClientSession", aiohttp_tether_async, "asyncio"
                ),
            ],
        ),
    ]
