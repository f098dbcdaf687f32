"""What people pay for: each step within its own part of the time that there is.

A child never gets more than its parent has left, so the parts may add up to more than
the whole: the sum is bounded all the same.
"""

from __future__ import annotations

import logging

import grpc
import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from demo import data
from demo.services import USER, Services, send
from tether import Context, DeadlineExceeded, WaitGroup, current, to_thread

log = logging.getLogger(__name__)

# -- the budget: 3000 ms the client, 1500 ms we, 400, 500, 800 ms the steps ------------


async def post_checkout(request: Request) -> Response:
    order = request.path_params["id"]
    cart: int = request.path_params["cart"]
    services: Services = request.app.state.services
    with current().with_timeout(1.5, reserve=0.05) as budget:  # 50 ms to answer
        budget.require(0.1)  # else nothing is begun
        with budget.with_timeout(0.4) as step:
            await services.inventory.reserve(step, order)
        with budget.with_timeout(0.5) as step:
            await send(step, services.payment, f"/charges/{order}")
        with budget.with_timeout(0.8) as step:  # connection, transaction, commit
            await to_thread(step, save, order, cart)
    return JSONResponse({"order": order}, 201)


def save(ctx: Context, order: str, cart: int) -> None:
    found = data.find_cart(ctx, cart)
    assert found is not None
    data.save_order(ctx, order, found)


# -- an order, step by step ------------------------------------------------------------


async def post_order(request: Request) -> Response:
    order = request.path_params["id"]
    services: Services = request.app.state.services
    ctx = current()
    step = "begin"
    try:
        ctx.require(0.1)
        step = "reserve"
        with ctx.with_timeout(0.5) as reserving:
            await services.inventory.reserve(reserving, order)
        step = "charge"
        with ctx.with_timeout(2.0) as charging:
            await send(charging, services.payment, f"/charges/{order}")
    except DeadlineExceeded as exc:
        return JSONResponse({"error": exc.detail, "step": step}, 504)
    except (httpx.HTTPError, grpc.RpcError) as exc:
        return JSONResponse({"error": str(exc), "step": step}, 502)
    return JSONResponse({"order": order}, 201)


# -- a promise: 202 now, and the money later -------------------------------------------


async def post_payment(request: Request) -> Response:
    payment = request.path_params["id"]
    services: Services = request.app.state.services
    payments: WaitGroup = request.app.state.payments
    ctx = current().with_value(USER, request.headers.get("x-user", "nobody"))
    # With the values of the request, in a time of its own; the service waits for it.
    payments.go_with(ctx, capture, services, payment)
    return JSONResponse({"payment": payment}, 202)


async def capture(ctx: Context, services: Services, payment: str) -> None:
    try:
        await send(ctx, services.payment, f"/captures/{payment}")
        user = ctx.value(USER, "nobody")
        await to_thread(ctx, data.record_payment, payment, user)
    except (httpx.HTTPError, DeadlineExceeded):
        log.exception("payment %s was promised and not captured", payment)
        raise
