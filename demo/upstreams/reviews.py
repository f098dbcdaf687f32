"""Reviews of products; those of product 0 cannot be had."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.upstreams.behavior import Behavior, serving

behavior = Behavior(0.03)


async def get_reviews(request: Request) -> Response:
    await behavior.take()
    product = request.path_params["id"]
    if product == 0:
        raise HTTPException(503, "no reviews at the moment")
    return JSONResponse([f"product {product} does what it says"])


app = serving(behavior, Route("/reviews/{id:int}", get_reviews))
