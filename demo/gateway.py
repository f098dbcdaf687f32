"""The gateway: what a pod runs.

Everything is put together here: the routes, what lives as long as the service, the
request's context around it all, and the stop in order.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo import services, watch
from demo.orders import post_checkout, post_order, post_payment
from demo.pages import (
    get_cart,
    get_dashboard,
    get_product,
    get_report,
    get_stocks,
    get_user,
)
from demo.prefetch import Recommended, variant
from tether import DeadlineExceeded, WaitGroup, background
from tether.ext.asgi import ContextMiddleware, Service

Prefetches = variant(os.environ.get("DEMO_PREFETCH", "BLS"))
LIMIT = int(os.environ.get("DEMO_LIMIT", "256"))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with services.opened() as behind:
        with background().with_cancel(label="service") as service:
            app.state.services = behind
            app.state.payments = WaitGroup(service, timeout=10.0)
            app.state.recommended = Recommended(behind.recommendations)
            app.state.prefetches = Prefetches(service, app.state.recommended, LIMIT)
            app.state.views = app.state.shed = 0
            yield  # payments are waited for before this goes on: see Service


def too_late(_: Request, exc: Exception) -> Response:
    """A step has had its time; the request's own end is answered by the middleware."""
    assert isinstance(exc, DeadlineExceeded)
    return JSONResponse({"error": exc.detail}, 504)


def not_answered(_: Request, exc: Exception) -> Response:
    """A service behind has failed."""
    return JSONResponse({"error": str(exc)}, 502)


shop = Starlette(
    routes=[
        Route("/users/{id:int}", get_user),
        Route("/carts/{id:int}", get_cart),
        Route("/products/{id:int}", get_product),
        Route("/dashboard", get_dashboard),
        Route("/stocks", get_stocks),
        Route("/report", get_report),
        Route("/checkouts/{cart:int}/{id}", post_checkout, methods=["POST"]),
        Route("/orders/{id}", post_order, methods=["POST"]),
        Route("/payments/{id}", post_payment, methods=["POST"]),
    ],
    lifespan=lifespan,
    exception_handlers={
        DeadlineExceeded: too_late,
        httpx.HTTPError: not_answered,
        grpc.RpcError: not_answered,
    },
)


def counts() -> dict[str, int]:
    state = shop.state
    return {
        "views": state.views,
        "shed": state.shed,
        "prefetched": state.recommended.count,
    }


# SIGTERM: not ready, and served on until the balancer has noticed; then no more comes
# in, and what is there has its time to end; then it is ended.
service = Service(
    ContextMiddleware(shop, timeout=3.0), drain=1.0, grace=5.0, hard=1.0, detached=3.0
)
app = watch.around(service, counts)
