"""What is in stock, and what is reserved. A reservation that is not bought runs out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.upstreams.behavior import Behavior, serving

behavior = Behavior(0.03)


async def get_stock(request: Request) -> Response:
    await behavior.take()
    return JSONResponse(request.path_params["id"] % 7 + 1)


async def post_reservation(request: Request) -> Response:
    await behavior.take()
    return JSONResponse({"reserved": request.path_params["order"]}, 201)


app = serving(
    behavior,
    Route("/stock/{id:int}", get_stock),
    Route("/reservations/{order}", post_reservation, methods=["POST"]),
)
