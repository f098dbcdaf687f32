"""What people look at: users, carts, products, prices, a report, the dashboard.

Every handler takes the request's context at the door, `current()`, and hands it down.
It is over when the client leaves, when the request's time has run out, and when the
service stops; and with it the query in its thread and the calls to other services. What
is out of time, and what another service fails with, is answered in one place: see
`gateway.too_late`.
"""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from demo import data
from demo.prefetch import Prefetches, Recommended
from demo.services import Services, fetch
from tether import (
    Context,
    ContextError,
    Group,
    WaitGroup,
    current,
    to_thread,
)

log = logging.getLogger(__name__)

# -- a query with a time of its own ---------------------------------------------------


async def get_user(request: Request) -> Response:
    with current().with_timeout(0.5) as query:
        user = await to_thread(query, data.find_user, request.path_params["id"])
    if user is None:
        return JSONResponse({"error": "no such user"}, 404)
    return JSONResponse(user)


# -- the page of the incident: it begins something and does not wait for it ------------


async def get_cart(request: Request) -> Response:
    prefetches: Prefetches = request.app.state.prefetches
    recommended: Recommended = request.app.state.recommended
    ctx = current()
    with ctx.with_timeout(0.5) as query:
        cart = await to_thread(query, data.find_cart, request.path_params["id"])
    if cart is None:
        return JSONResponse({"error": "no such cart"}, 404)
    request.app.state.views += 1
    if not prefetches.start(ctx, cart):
        request.app.state.shed += 1
    return JSONResponse({"items": cart.items, "recommended": recommended.find(cart.id)})


# -- fan-out: all or nothing, and whatever there is ------------------------------------


async def get_product(request: Request) -> Response:
    product = request.path_params["id"]
    services: Services = request.app.state.services
    path = f"/recommendations/products/{product}"
    with current().with_timeout(2.0, reserve=0.1) as page:
        async with Group(page) as group:  # the first error ends the others
            info = group.go(data.find_product, product)
            reviews = group.go(fetch, services.reviews, f"/reviews/{product}")
            stock = group.go(services.inventory.stock, product)
            others = group.go(fetch, services.recommendations, path)
    answer = {
        **info.result(),
        "reviews": reviews.result(),
        "stock": stock.result(),
        "others": others.result(),
    }
    return JSONResponse(answer)


async def get_dashboard(request: Request) -> Response:
    services: Services = request.app.state.services
    with current().with_timeout(2.0, reserve=0.1) as page:
        async with WaitGroup(page) as work:  # one failure leaves the others alone
            parts = {
                "reviews": work.go(fetch, services.reviews, "/reviews/0"),
                "stock": work.go(services.inventory.stock, 0),
            }
    known = {name: part.result() for name, part in parts.items() if not part.error}
    return JSONResponse({"parts": known, "missing": len(work.errors)})


# -- many things, a few at a time ------------------------------------------------------


async def get_stocks(request: Request) -> Response:
    services: Services = request.app.state.services
    with current().with_timeout(2.0, reserve=0.1) as page:
        async with Group(page, limit=4) as workers:
            stocks = [
                workers.go(services.inventory.stock, product)
                for product in range(1, 13)
            ]
    return JSONResponse([stock.result() for stock in stocks])


# -- a loop that computes --------------------------------------------------------------


def median_price(ctx: Context, rounds: int) -> int:
    prices = data.find_prices(ctx)
    number = 0
    try:
        for number in ctx.poll(range(rounds), every=100):
            prices[number % len(prices)] += number % 3
    except ContextError:
        log.warning("the report was ended at item %d", number)
        raise
    return sorted(prices)[len(prices) // 2]


async def get_report(request: Request) -> Response:
    rounds = int(request.query_params.get("rounds", "1000"))
    return JSONResponse(await to_thread(current(), median_price, rounds))
