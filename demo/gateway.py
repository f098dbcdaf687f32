"""The service, on tether: the code to copy.

Every handler takes the request's context at the door, `current()`, and hands it down.
It is over when the client leaves or when the request's time has run out, and with it
the query in its thread and the call to the other service.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.data import FIND_PRODUCT, FIND_USER, REPORT, connection
from demo.watch import Watch
from tether import (
    Context,
    DeadlineExceeded,
    Group,
    WaitGroup,
    background,
    current,
    to_thread,
)
from tether.ext.asgi import ContextMiddleware
from tether.ext.sqlite import fetch_one

UPSTREAM = os.environ.get("DEMO_UPSTREAM", "")
ATTEMPTS = 3

watch = Watch()

# Knows nothing of contexts. The block that a call stands in bounds it all the same.
client = httpx.AsyncClient(timeout=10.0)


async def fetch(_: Context, path: str) -> object:
    answer = await client.get(f"{UPSTREAM}/{path}")
    return answer.raise_for_status().json()


# -- a query with a time of its own ---------------------------------------------------


def find_user(ctx: Context, user: int) -> dict[str, object] | None:
    row = fetch_one(ctx, connection(), FIND_USER, (user,))
    return None if row is None else {"id": row[0], "name": row[1]}


async def get_user(request: Request) -> Response:
    ctx = current()
    try:
        with ctx.with_timeout(0.5) as query:
            user = await to_thread(query, find_user, request.path_params["id"])
    except DeadlineExceeded as exc:
        return JSONResponse({"error": exc.detail}, 504)
    if user is None:
        return JSONResponse({"error": "no such user"}, 404)
    return JSONResponse(user)


def count_everything(ctx: Context, request_id: str) -> list[object]:
    with watch.query(request_id):
        row = fetch_one(ctx, connection(), REPORT)
    assert row is not None
    return list(row)


async def get_report(request: Request) -> Response:
    name = watch.id_of(request.scope)
    return JSONResponse(await to_thread(current(), count_everything, name))


async def get_feed(_: Request) -> Response:
    return JSONResponse(await fetch(current(), "feed"))


# -- fan-out: all or nothing, and whatever there is ------------------------------------


def find_product(ctx: Context, product: int) -> dict[str, object]:
    row = fetch_one(ctx, connection(), FIND_PRODUCT, (product,))
    assert row is not None
    return {"id": row[0], "name": row[1], "price": row[2]}


async def get_product(request: Request) -> Response:
    product = request.path_params["id"]
    try:
        with current().with_timeout(2.0, reserve=0.1) as page:
            async with Group(page) as group:  # the first error ends the others
                info = group.go(find_product, product)
                reviews = group.go(fetch, f"reviews/{product}")
                stock = group.go(fetch, f"stock/{product}")
                recommendations = group.go(fetch, f"recommendations/{product}")
    except DeadlineExceeded as exc:
        return JSONResponse({"error": exc.detail}, 504)
    except httpx.HTTPError as exc:
        return JSONResponse({"error": str(exc)}, 502)
    answer = {
        **info.result(),
        "reviews": reviews.result(),
        "stock": stock.result(),
        "recommendations": recommendations.result(),
    }
    return JSONResponse(answer)


async def get_dashboard(_: Request) -> Response:
    paths = ["reviews/10", "stock/10", "recommendations/10"]
    with current().with_timeout(2.0, reserve=0.1) as page:
        async with WaitGroup(page) as work:  # one failure leaves the others alone
            parts = {path: work.go(fetch, path) for path in paths}
    known = {path: part.result() for path, part in parts.items() if not part.error}
    return JSONResponse({"parts": known, "missing": len(work.errors)})


# -- work that outlives the request ----------------------------------------------------


async def capture(_: Context, payment: str) -> None:
    answer = await client.post(f"{UPSTREAM}/charges/{payment}")
    answer.raise_for_status()


async def post_payment(request: Request) -> Response:
    payment = request.path_params["id"]
    # With the values of the request, in a time of its own.
    request.app.state.payments.go_with(current(), capture, payment)
    return JSONResponse({"payment": payment}, 202)


async def prefetch(ctx: Context, cart: int) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await fetch(ctx, f"recommendations/cart/{cart}")
        except httpx.HTTPError:
            await ctx.sleep_async(0.05 * 2**attempt)
        else:
            return


async def get_cart(request: Request) -> Response:
    cart = request.path_params["id"]
    # None: there are too many already, and nobody minds.
    request.app.state.prefetches.try_go_with(current(), prefetch, cart)
    return JSONResponse({"cart": cart, "items": [cart + 1]})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with client:
        with background().with_cancel(label="service") as service_ctx:
            app.state.payments = WaitGroup(service_ctx, timeout=10.0)
            app.state.prefetches = WaitGroup(service_ctx, limit=256, timeout=0.8)
            yield
            with background().with_timeout(4.0) as stop:  # what was promised is kept
                await app.state.payments.drain_async(stop)


service = Starlette(
    routes=[
        Route("/users/{id:int}", get_user),
        Route("/report", get_report),
        Route("/feed", get_feed),
        Route("/products/{id:int}", get_product),
        Route("/dashboard", get_dashboard),
        Route("/payments/{id}", post_payment, methods=["POST"]),
        Route("/carts/{id:int}", get_cart),
    ],
    lifespan=lifespan,
)
app = watch.around(ContextMiddleware(service, timeout=2.0))
