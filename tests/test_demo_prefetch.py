"""The eight prefetches of the demo: each goes wrong in the way it is written, one in none."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from demo import watch
from demo.data import Cart
from demo.prefetch import VARIANTS, Recommended, variant
from tether import Context, background
from tether.ext.httpx import AsyncClient
from tether.testing import run

CARTS, PLACES = 10, 4

# How many of ten are there 2 s after ten cart views, half a minute later, and half a
# minute after the other side is well again; how many got their recommendations.
EXPECTED = {
    "incident": (10, 10, 0, 10),
    "B": (10, 10, 10, 0),
    "L": (0, 0, 0, 0),
    "S": (4, 4, 0, 4),
    "BL": (0, 0, 0, 0),
    "BS": (4, 4, 4, 0),
    "LS": (4, 4, 0, 4),
    "BLS": (0, 0, 0, 0),
}


class OtherSide:
    """Recommendations that do not come while it is not well."""

    def __init__(self) -> None:
        self.well = False
        self.asked = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.well:
            await asyncio.sleep(0.03)
            return httpx.Response(200, json=[1, 2])
        await asyncio.sleep(5.0)
        raise httpx.ReadTimeout("as the client's own timeout has it", request=request)

    def client(self) -> AsyncClient[httpx.Response]:
        transport = httpx.MockTransport(self.answer)
        return AsyncClient(transport=transport, base_url="http://recommendations")


def stuck() -> int:
    there = watch.stats()["prefetches"]
    assert isinstance(there, int)
    return there


async def views(
    request: Context, service: Context, name: str, other: OtherSide, count: int
) -> tuple[Recommended, int]:
    """Look at so many carts, in requests that end at once."""
    recommended = Recommended(other.client())
    prefetches = variant(name)(service, recommended, PLACES)
    started = 0
    for number in range(count):
        with request.with_cancel() as ctx:
            started += prefetches.start(ctx, Cart(number, [], b""))
            await asyncio.sleep(0.001)
    return recommended, started


@pytest.mark.parametrize("name", VARIANTS)
def test_what_becomes_of_the_prefetches_of_a_degraded_service(name: str) -> None:
    async def main(ctx: Context) -> tuple[int, int, int, int]:
        other = OtherSide()
        with background().with_cancel() as service:
            recommended, started = await views(ctx, service, name, other, CARTS)
            assert started == (PLACES if "S" in name else CARTS)
            await asyncio.sleep(2.0)
            soon = stuck()
            await asyncio.sleep(30.0)
            later = stuck()
            other.well = True
            await asyncio.sleep(30.0)
            seen = soon, later, stuck(), recommended.count
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        return seen

    assert run(main) == EXPECTED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_on_a_good_day_all_but_those_that_end_with_the_request_succeed(
    name: str,
) -> None:
    async def main(ctx: Context) -> int:
        other = OtherSide()
        other.well = True
        with background().with_cancel() as service:
            recommended, _ = await views(ctx, service, name, other, PLACES)
            await asyncio.sleep(1.0)
        assert stuck() == 0
        return recommended.count

    assert run(main) == (0 if name == "L" else PLACES)


def test_the_fixed_one_tries_again_within_its_time_and_no_longer() -> None:
    async def main(ctx: Context) -> tuple[int, int]:
        asked = 0

        def fail(_: httpx.Request) -> httpx.Response:
            nonlocal asked
            asked += 1
            return httpx.Response(503)

        transport = httpx.MockTransport(fail)
        client = AsyncClient(transport=transport, base_url="http://recommendations")
        with background().with_cancel() as service:
            made = variant("BLS")(service, Recommended(client), PLACES)
            assert made.start(ctx, Cart(1, [], b""))
            await asyncio.sleep(0.3)
            early = asked
            await asyncio.sleep(30.0)
        return early, asked

    assert run(main) == (3, 3)


def test_the_fixed_one_ends_with_its_service() -> None:
    async def main(ctx: Context) -> int:
        other = OtherSide()
        with background().with_cancel() as service:
            await views(ctx, service, "BLS", other, PLACES)
            assert stuck() == PLACES
        await asyncio.sleep(0.01)
        return stuck()

    assert run(main) == 0


def test_a_pod_says_in_which_lines_they_wait() -> None:
    async def main(ctx: Context) -> object:
        other = OtherSide()
        with background().with_cancel() as service:
            await views(ctx, service, "incident", other, 3)
            await asyncio.sleep(7.0)
            roots = watch.stats()["roots"]
            other.well = True
            await asyncio.sleep(30.0)
        return roots

    assert run(main) == [
        {
            "root": "_prefetch, demo/prefetch/incident.py",
            "line": "await asyncio.sleep(10.0)",
            "tasks": 3,
        }
    ]
