"""The service behind the gateway. It answers slowly, a byte at a time.

`PUT /latency/{seconds}` sets how long an answer takes. A timeout that is meant for each
read alone never runs out on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from demo.settings import Settings

PAUSE = 0.1


async def feed(request: Request) -> Response:
    return StreamingResponse(drip(request.app.state.latency), media_type="text/plain")


async def drip(seconds: float) -> AsyncIterator[bytes]:
    for _ in range(round(seconds / PAUSE)):
        yield b"."
        await asyncio.sleep(PAUSE)
    yield b"\n"


async def latency(request: Request) -> Response:
    request.app.state.latency = request.path_params["seconds"]
    return JSONResponse({"latency": request.app.state.latency})


def make_app(_: Settings) -> Starlette:
    app = Starlette(
        routes=[
            Route("/feed", feed),
            Route("/latency/{seconds:float}", latency, methods=["PUT"]),
        ]
    )
    app.state.latency = 3.0
    return app
