"""The service behind the gateway, on a bad day: it answers a word at a time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

PIECES = 10


async def get_feed(_: Request) -> Response:
    seconds = float(os.environ["DEMO_LATENCY"])

    async def pieces() -> AsyncIterator[str]:
        yield "["
        for number in range(PIECES):
            await asyncio.sleep(seconds / PIECES)
            yield f"{number},"
        yield "0]"

    return StreamingResponse(pieces(), media_type="application/json")


app = Starlette(routes=[Route("/feed", get_feed)])
