"""The gateway of the demo is the code to copy: it does what its comments say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from demo import data, gateway
from demo.databases import database
from demo.inventory import Inventory
from demo.prefetch import Recommended, variant
from demo.services import Services
from tether import Context, WaitGroup, to_thread
from tether.ext.asgi import ContextMiddleware
from tether.ext.httpx import AsyncClient
from tether.testing import run

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Behind:
    """The services behind: what they were sent, and what they answer."""

    def __init__(self) -> None:
        self.asked: dict[str, httpx.Request] = {}
        self.given: dict[str, float] = {}  # seconds
        self.ended: list[str] = []
        self.hanging: set[str] = set()
        self.failing: set[str] = set()

    def client(self, name: str) -> AsyncClient[httpx.Response]:
        async def answer(request: httpx.Request) -> httpx.Response:
            self.asked[name] = request
            self.given[name] = int(request.headers["x-request-timeout-ms"]) / 1000
            await self.take(name)
            return httpx.Response(503 if name in self.failing else 200, json=[1])

        transport = httpx.MockTransport(answer)
        return AsyncClient(transport=transport, base_url=f"http://{name}")

    async def take(self, name: str) -> None:
        try:
            await asyncio.sleep(3600.0 if name in self.hanging else 0.03)
        except asyncio.CancelledError:
            self.ended.append(name)
            raise

    def left(self, name: str) -> float:
        """The milliseconds that it was told it has."""
        return self.given[name] * 1000


class FakeInventory(Inventory):
    """Without gRPC, whose time is real."""

    def __init__(self, behind: Behind) -> None:
        self._behind = behind

    async def stock(self, ctx: Context, product: int) -> int:
        self._behind.given["inventory"] = ctx.remaining()
        await self._behind.take("inventory")
        return product

    async def reserve(self, ctx: Context, order: str) -> None:
        await self.stock(ctx, 0)


Scenario = Callable[[httpx.AsyncClient, Behind], Awaitable[None]]


@pytest.fixture
def gateway_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Behind, Scenario], None]:
    """Plays a scenario with a gateway, on a clock that does not wait."""
    where = str(tmp_path / "shop.db")
    shop_database = database(where)
    monkeypatch.setattr(data, "shop_database", lambda: shop_database)

    async def main(ctx: Context, behind: Behind, play: Scenario) -> None:
        await to_thread(ctx, data.create, where, 10)
        services = Services(
            behind.client("recommendations"),
            behind.client("reviews"),
            FakeInventory(behind),
            behind.client("payment"),
        )
        shop = Starlette(
            routes=gateway.shop.routes,
            exception_handlers=gateway.shop.exception_handlers,
        )
        with ctx.with_cancel(label="service") as service:
            recommended = Recommended(services.recommendations)
            shop.state.services = services
            shop.state.payments = WaitGroup(service, timeout=10.0)
            shop.state.recommended = recommended
            shop.state.prefetches = variant("BLS")(service, recommended, 4)
            shop.state.views = shop.state.shed = 0
            app = ContextMiddleware(shop, timeout=3.0)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://shop"
            ) as client:
                await play(client, behind)
            await shop.state.payments.drain_async(service)

    return lambda behind, play: run(main, behind, play)


Play = Callable[[Behind, Scenario], None]


@pytest.mark.parametrize(
    ("hangs", "step", "seconds"),
    [("inventory", "reserve", 0.5), ("payment", "charge", 2)],
)
def test_an_order_that_is_too_late_says_in_which_step(
    gateway_with: Play, hangs: str, step: str, seconds: float
) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        behind.hanging = {hangs}
        began = asyncio.get_running_loop().time()
        answer = await client.post("/orders/o-1")
        assert (answer.status_code, answer.json()["step"]) == (504, step)
        assert asyncio.get_running_loop().time() - began < seconds + 0.2

    gateway_with(Behind(), play)


def test_a_checkout_shrinks_the_budget_from_step_to_step(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        answer = await client.post("/checkouts/1/c-1")
        assert answer.status_code == 201
        assert 300 < behind.left("inventory") <= 400
        assert 400 < behind.left("payment") <= 500
        short = {"x-request-timeout-ms": "300"}
        assert (await client.post("/checkouts/1/c-2", headers=short)).status_code == 201
        # 50 ms are kept back, and what the first step took is gone.
        assert behind.left("inventory") <= 250
        assert behind.left("payment") <= 220

    gateway_with(Behind(), play)


def test_a_checkout_without_the_time_for_it_is_not_begun(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        short = {"x-request-timeout-ms": "120"}
        answer = await client.post("/checkouts/1/c-1", headers=short)
        assert answer.status_code == 504
        assert not behind.given

    gateway_with(Behind(), play)


def test_the_first_error_of_a_product_page_ends_the_others(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        behind.failing = {"reviews"}
        behind.hanging = {"inventory", "recommendations"}
        assert (await client.get("/products/3")).status_code == 502
        assert sorted(behind.ended) == ["inventory", "recommendations"]

    gateway_with(Behind(), play)


def test_a_dashboard_shows_what_there_is(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        behind.failing = {"reviews"}
        answer = await client.get("/dashboard")
        assert answer.json() == {"parts": {"stock": 0}, "missing": 1}

    gateway_with(Behind(), play)


def test_a_payment_is_promised_at_once_and_captured_for_its_user(
    gateway_with: Play,
) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        sent = {"x-user": "ann", "x-request-id": "7d1"}
        answer = await client.post("/payments/p-1", headers=sent)
        assert answer.status_code == 202
        await asyncio.sleep(1.0)
        captured = behind.asked["payment"]
        assert captured.url.path == "/captures/p-1"
        assert captured.headers["x-user"] == "ann"
        assert captured.headers["x-request-id"] == "7d1"

    gateway_with(Behind(), play)


def test_a_user_that_is_not_there_and_one_that_is(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        assert (await client.get("/users/7")).json() == {"id": 7, "name": "user 7"}
        assert (await client.get("/users/7000")).status_code == 404
        assert (await client.get("/stocks")).json() == [*range(1, 13)]
        assert (await client.get("/report")).json() > 0

    gateway_with(Behind(), play)


def test_a_cart_has_its_recommendations_the_next_time(gateway_with: Play) -> None:
    async def play(client: httpx.AsyncClient, behind: Behind) -> None:
        assert (await client.get("/carts/1")).json()["recommended"] is None
        await asyncio.sleep(0.5)
        assert (await client.get("/carts/1")).json()["recommended"] == [1]

    gateway_with(Behind(), play)
