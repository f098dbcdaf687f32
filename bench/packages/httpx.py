"""httpx, on httpcore: a pool with one connection, HTTP/1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from bench.packages import _service
from bench.packages._handing import in_turns
from bench.packages._operation import Operation
from tether import Context, Group

PACKAGE = "httpx"
ONE = httpx.Limits(max_connections=1)
TIMES = httpx.Timeout(10.0, pool=2.0)  # verify=False below: there is no TLS


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(limits=ONE, timeout=TIMES, verify=False) as http:
        yield http


async def get(http: httpx.AsyncClient) -> None:
    assert (await http.get(_service.url())).text == "ok"


async def three(http: httpx.AsyncClient) -> None:
    await in_turns(lambda: get(http))


async def three_in_our_group(ctx: Context, http: httpx.AsyncClient) -> None:
    async def work(_: Context) -> None:
        await get(http)

    async with Group(ctx) as group:
        for _ in range(3):
            group.go(work)


async def stream(http: httpx.AsyncClient) -> None:
    async with http.stream("GET", _service.url() + "/large") as response:
        async for _ in response.aiter_bytes():
            pass


OPERATIONS = [
    *(
        Operation(
            name,
            op,
            client,
            real_time=True,
            needs=_service.port,
            shown_by="httpcore_pool",
        )
        for name, op in [("get", get), ("three at once", three), ("stream", stream)]
    ),
    Operation(
        "three at once, in a Group of tether",
        three_in_our_group,
        client,
        real_time=True,
        needs=_service.port,
    ),
]
