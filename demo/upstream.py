"""The services behind the gateway, on a bad day.

The feed answers a word at a time. Recommendations are slow for everybody. Of a hundred
products, each tenth has no reviews: asking for them fails at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PIECES = 10
LATENCY = float(os.environ["DEMO_LATENCY"])
QUICK = 0.03
CHARGE = 2.0

charged: set[str] = set()


async def get_feed(_: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        yield "["
        for number in range(PIECES):
            await asyncio.sleep(LATENCY / PIECES)
            yield f"{number},"
        yield "0]"

    return StreamingResponse(pieces(), media_type="application/json")


async def get_reviews(request: Request) -> Response:
    product = request.path_params["id"]
    if product % 10 == 0:
        return JSONResponse({"error": "no reviews at the moment"}, 503)
    await asyncio.sleep(QUICK)
    return JSONResponse([f"product {product} does what it says"])


async def get_stock(request: Request) -> Response:
    await asyncio.sleep(QUICK)
    return JSONResponse(request.path_params["id"] % 7)


async def get_recommendations(request: Request) -> Response:
    # Those of a product are at hand, those of a cart have to be worked out.
    await asyncio.sleep(LATENCY if "cart" in request.url.path else 2 * QUICK)
    product = request.path_params["id"]
    return JSONResponse([product + 1, product + 2])


async def post_charge(request: Request) -> Response:
    await asyncio.sleep(CHARGE)
    charged.add(request.path_params["payment"])
    return JSONResponse({"charged": True}, 201)


async def get_charges(_: Request) -> Response:
    return JSONResponse(sorted(charged))


app = Starlette(
    routes=[
        Route("/feed", get_feed),
        Route("/reviews/{id:int}", get_reviews),
        Route("/stock/{id:int}", get_stock),
        Route("/recommendations/{id:int}", get_recommendations),
        Route("/recommendations/cart/{id:int}", get_recommendations),
        Route("/charges", get_charges),
        Route("/charges/{payment}", post_charge, methods=["POST"]),
    ]
)
