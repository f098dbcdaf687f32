"""A wait is ended in one way, all that belongs to it included: ns for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import perf_counter_ns as now
from typing import Any

from bench._measure import Case, Effort, Side
from bench.packages import _service
from tether.testing import Verdict, sweep

WAITS = 10


async def ten_waits() -> None:
    for _ in range(WAITS):
        await asyncio.sleep(0.1)


async def ten_short_waits() -> None:
    for _ in range(WAITS):
        await asyncio.sleep(0)


@asynccontextmanager
async def client() -> AsyncIterator[Any]:
    import httpx

    async with httpx.AsyncClient(verify=False) as http:
        yield http


async def request(http: Any) -> None:
    response = await http.get(_service.url())
    assert response.text == "ok"


async def with_client() -> None:
    async with client() as http:
        await request(http)


def runs(op: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[int], int]:
    """A run in which nothing is ended, in a loop of its own."""

    def run(n: int) -> int:
        _service.port()
        began = now()
        for _ in range(n):
            asyncio.run(op())
        return now() - began

    return run


def swept(op: Callable[..., object], **options: Any) -> Callable[[int], list[int]]:
    """Sweeps; a sample is the time of one over the waits that it has ended."""

    def run(n: int) -> list[int]:
        _service.port()
        took: list[int] = []
        for _ in range(n):
            began = now()
            report = sweep(op, **options)
            assert report.verdict is not Verdict.FAIL, report
            took.append((now() - began) // len(report.delivered))
        return took

    return run


def cases(_: Effort) -> list[Case]:
    return [
        Case(
            "an operation of ten waits",
            "asyncio.run, nothing ended",
            [
                Side("asyncio.run, nothing ended", runs(ten_short_waits)),
                Side("tether, sweep", swept(ten_waits)),
            ],
        ),
        Case(
            "a request of httpx",
            "asyncio.run, nothing ended",
            [
                Side("asyncio.run, nothing ended", runs(with_client)),
                Side(
                    "tether, sweep",
                    swept(request, setup=client, real_time=True, limit=30.0),
                ),
            ],
        ),
    ]
