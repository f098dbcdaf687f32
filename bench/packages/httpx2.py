"""httpx2, on httpcore2: a pool with one connection, HTTP/1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from bench.packages import _service
from bench.packages._handing import in_turns
from bench.packages._operation import Operation

PACKAGE = "httpx2"
ONE = httpx2.Limits(max_connections=1)
TIMES = httpx2.Timeout(10.0, pool=2.0)  # verify=False below: there is no TLS


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(limits=ONE, timeout=TIMES, verify=False) as http:
        yield http


async def get(http: httpx2.AsyncClient) -> None:
    assert (await http.get(_service.url())).text == "ok"


async def three(http: httpx2.AsyncClient) -> None:
    await in_turns(lambda: get(http))


async def stream(http: httpx2.AsyncClient) -> None:
    async with http.stream("GET", _service.url() + "/large") as response:
        async for _ in response.aiter_bytes():
            pass


OPERATIONS = [
    Operation(name, op, client, real_time=True, needs=_service.port)
    for name, op in [("get", get), ("three at once", three), ("stream", stream)]
]
