"""What a request is called: by its route, not by the ids in its path."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar
from litestar import get as litestar_get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.ext.serving import serve
from tether import current
from tether.ext.asgi import ContextMiddleware


async def tell(_: Request) -> PlainTextResponse:
    return PlainTextResponse(current().label)


async def tell_fastapi() -> PlainTextResponse:
    return PlainTextResponse(current().label)


async def untold(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await PlainTextResponse(current().label)(scope, receive, send)


@litestar_get("/users/{id:int}", media_type="text/plain")
async def tell_litestar() -> str:
    return current().label


def starlette() -> Starlette:
    routes = [
        Route("/users/{id:int}", tell),
        Route("/files/{rest:path}", tell),
        Route("/pairs/{a}/{b}", tell),
        Mount("/shops/{shop}", routes=[Route("/carts/{id}", tell)]),
        Mount("/raw", app=untold),
    ]
    return Starlette(routes=routes)


def fastapi() -> FastAPI:
    app, outer, inner = FastAPI(), APIRouter(prefix="/v/{version}"), APIRouter()
    inner.add_api_route("/users/{id}", tell_fastapi)
    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    return app


@pytest.mark.parametrize(
    ("app", "path", "label"),
    [
        (starlette(), "/users/189", "GET /users/{id}"),
        (starlette(), "/files/a/b/users/c", "GET /files/{rest}"),
        (starlette(), "/pairs/7/7", "GET /pairs/{a}/{b}"),
        (starlette(), "/pairs/1/11", "GET /pairs/{a}/{b}"),
        (starlette(), "/shops/9/carts/3", "GET /shops/{shop}/carts/{id}"),
        (starlette(), "/raw/9", "GET /raw/9"),
        (fastapi(), "/api/v/2/users/189", "GET /api/v/{version}/users/{id}"),
        (Litestar([tell_litestar]), "/users/189", "GET /users/{id}"),
    ],
)
def test_a_request_is_called_by_its_route(app: Any, path: str, label: str) -> None:
    with serve(ContextMiddleware(app, timeout=30.0)) as served:
        answer = httpx.get(f"http://127.0.0.1:{served.port}{path}")
    assert answer.text == label
