"""Where the money is: it charges an order at once and captures a payment slowly.

It knows which payments were captured, and for whom: `GET /captures`.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.services import USER
from demo.upstreams.behavior import Behavior, serving
from tether import current

log = logging.getLogger(__name__)
CAPTURE = 1.5  # seconds

behavior = Behavior(0.1)
captured: dict[str, str] = {}


async def post_charge(request: Request) -> Response:
    order = request.path_params["order"]
    log.info("charging order %s", order)  # the record has what was left on arrival
    await behavior.take()
    return JSONResponse({"charged": order}, 201)


async def post_capture(request: Request) -> Response:
    payment = request.path_params["payment"]
    await behavior.take()
    await asyncio.sleep(CAPTURE)  # a gateway that dies meanwhile has not captured it
    captured[payment] = current().value(USER, "nobody")
    return JSONResponse({"captured": payment}, 201)


async def get_captures(_: Request) -> Response:
    return JSONResponse(captured)


app = serving(
    behavior,
    Route("/charges/{order}", post_charge, methods=["POST"]),
    Route("/captures", get_captures),
    Route("/captures/{payment}", post_capture, methods=["POST"]),
)
