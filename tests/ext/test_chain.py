"""Three services that call one another: the time, the id and the end go through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.core.support import LONG
from tests.ext.serving import Served, get, serve, until
from tether import Canceled, Context, current
from tether.ext import aiohttp, httpx, requests
from tether.ext.asgi import ContextMiddleware
from tether.ext.fastapi import Ctx
from tether.wire import REQUEST_ID, CallerTimeout

NAMES = ["first", "second", "third"]
BUDGET = 20.0


class Chain:
    """The first is Starlette with httpx or aiohttp, the second a plain function of
    FastAPI with requests, the third waits for what a test says.
    """

    def __init__(self, library: str, budget: float, wait: Callable[[], Any]) -> None:
        self.library = library
        self.wait = wait
        self.left: dict[str, float] = {}
        self.ids: dict[str, str | None] = {}
        self.ended: dict[str, Context] = {}
        self.at_work = threading.Event()
        self._open = ExitStack()
        third = self._serve(self._third(), LONG)
        second = self._serve(self._second(third.port), LONG)
        self.first = self._serve(self._first(second.port), budget)

    def close(self) -> None:
        self._open.close()

    def _serve(self, app: Any, timeout: float) -> Served:
        return self._open.enter_context(serve(ContextMiddleware(app, timeout)))

    def _begin(self, name: str, ctx: Context) -> None:
        self.left[name] = ctx.remaining()
        self.ids[name] = ctx.value(REQUEST_ID)

    def _first(self, port: int) -> Starlette:
        url = f"http://127.0.0.1:{port}/"

        async def page(_: Request) -> Response:
            ctx = current()
            self._begin("first", ctx)
            try:
                if self.library == "httpx":
                    async with httpx.AsyncClient() as one:
                        got = await one.get(ctx, url)
                        return Response(got.content, got.status_code)
                async with (
                    aiohttp.ClientSession() as other,
                    other.get(ctx, url) as answer,
                ):
                    return Response(await answer.read(), answer.status)
            finally:
                self.ended["first"] = ctx

        return Starlette(routes=[Route("/", page)])

    def _second(self, port: int) -> FastAPI:
        app = FastAPI()

        @app.get("/")
        def page(ctx: Ctx) -> Response:
            self._begin("second", ctx)
            try:
                with requests.Session() as http:
                    answer = http.get(ctx, f"http://127.0.0.1:{port}/")
                return Response(answer.content, answer.status_code)
            finally:
                self.ended["second"] = ctx

        return app

    def _third(self) -> Starlette:
        async def page(_: Request) -> Response:
            ctx = current()
            self._begin("third", ctx)
            self.at_work.set()
            try:
                await self.wait()
            finally:
                self.ended["third"] = ctx
            return JSONResponse({"stock": 3})

        return Starlette(routes=[Route("/", page)])


@pytest.fixture(params=["httpx", "aiohttp"])
def chain(request: pytest.FixtureRequest) -> Iterator[Callable[..., Chain]]:
    with ExitStack() as opened:

        def make(wait: Callable[[], Any], budget: float = BUDGET) -> Chain:
            made = Chain(request.param, budget, wait)
            opened.callback(made.close)
            return made

        yield make


async def long() -> None:
    await asyncio.sleep(LONG)


def test_each_has_what_the_one_before_has_left(chain: Callable[..., Chain]) -> None:
    three = chain(lambda: asyncio.sleep(0))
    asked = get("/", "x-request-timeout-ms: 10000", "x-request-id: 7d1")
    assert three.first.answer(asked) == (200, b'{"stock":3}')
    first, second, third = (three.left[name] for name in NAMES)
    assert 10.0 >= first > second > third > 0
    assert three.ids == dict.fromkeys(NAMES, "7d1")


def test_all_stop_when_the_client_hangs_up(chain: Callable[..., Chain]) -> None:
    three = chain(long)
    with three.first.ask(get("/")):
        assert three.at_work.wait(LONG)
    until(lambda: len(three.ended) == len(NAMES), "all have stopped", LONG)
    for name in NAMES:
        assert isinstance(three.ended[name].err(), Canceled), name
    assert three.first.problems.said == []


def test_all_stop_when_the_time_of_the_first_is_over(
    chain: Callable[..., Chain],
) -> None:
    three = chain(long, budget=3.0)
    # That of whoever is first to find its time over; those before it pass it on.
    assert three.first.answer(get("/"))[0] == 504
    until(lambda: len(three.ended) == len(NAMES), "all have stopped", LONG)
    for name in ("second", "third"):
        cause = three.ended[name].cause()
        assert isinstance(cause, CallerTimeout) or isinstance(
            three.ended[name].err(), Canceled
        )
    assert three.first.problems.said == []
