"""aiohttp: its client, with a pool of one connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.packages import _service
from bench.packages._handing import in_turns
from bench.packages._operation import Operation

PACKAGE = "aiohttp"


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1),
        timeout=aiohttp.ClientTimeout(total=10.0),
    ) as http:
        yield http


async def get(http: aiohttp.ClientSession) -> None:
    async with http.get(_service.url()) as response:
        assert await response.text() == "ok"


async def by_name(http: aiohttp.ClientSession) -> None:
    async with http.get(f"http://localhost:{_service.port()}") as response:
        assert await response.text() == "ok"


async def three(http: aiohttp.ClientSession) -> None:
    await in_turns(lambda: get(http))


async def stream(http: aiohttp.ClientSession) -> None:
    async with http.get(_service.url() + "/large") as response:
        async for _ in response.content.iter_chunked(1000):
            pass


OPERATIONS = [
    Operation(name, op, client, real_time=True, needs=_service.port)
    for name, op in [
        ("get", get),
        ("get, by name", by_name),
        ("three at once", three),
        ("stream", stream),
    ]
]
