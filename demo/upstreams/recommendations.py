"""Recommendations. Those for a cart have to be worked out: that is what degrades."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.upstreams.behavior import Behavior, serving

for_carts = Behavior(0.03)
for_products = Behavior(0.03)


async def get_for_cart(request: Request) -> Response:
    await for_carts.take()
    cart = request.path_params["id"]
    return JSONResponse([cart + 1, cart + 2])


async def get_for_product(request: Request) -> Response:
    await for_products.take()
    product = request.path_params["id"]
    return JSONResponse([product + 1, product + 2])


app = serving(
    for_carts,
    Route("/recommendations/carts/{id:int}", get_for_cart),
    Route("/recommendations/products/{id:int}", get_for_product),
)
