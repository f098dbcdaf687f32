"""Starlette: an application, called as a server does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bench.packages._operation import Operation

PACKAGE = "starlette"


async def coroutine(_: Request) -> Response:
    await asyncio.sleep(1.0)
    return PlainTextResponse("ok")


def function(_: Request) -> Response:
    time.sleep(0.01)
    return PlainTextResponse("ok")


async def streamed(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(1.0)
            yield b"x"

    return StreamingResponse(body())


async def streamed_by_thread(_: Request) -> Response:
    def body() -> Iterator[bytes]:
        yield b"x"
        yield b"y"

    return StreamingResponse(body())


class Marks(BaseHTTPMiddleware):
    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers["x-mark"] = "1"
        return response


def requested(
    endpoint: Callable[..., object], *middleware: Middleware
) -> Callable[[], Awaitable[None]]:
    """One request, of a client that stays."""
    app = Starlette(routes=[Route("/", endpoint)], middleware=middleware)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [],
        "query_string": b"",
    }

    async def request() -> None:
        sent: list[Any] = []
        arrived: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            return arrived.pop() if arrived else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            await asyncio.sleep(0)
            sent.append(message)

        await app(scope, receive, send)
        assert sent[0]["status"] == 200

    return request


OPERATIONS = [
    Operation("coroutine", requested(coroutine)),
    Operation("function", requested(function)),
    Operation("StreamingResponse", requested(streamed)),
    Operation("StreamingResponse of a generator", requested(streamed_by_thread)),
    Operation("BaseHTTPMiddleware", requested(coroutine, Middleware(Marks))),
    Operation("BaseHTTPMiddleware, streaming", requested(streamed, Middleware(Marks))),
]
