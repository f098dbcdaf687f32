"""The same service without tether, as it is usually written.

Nothing here is careless: each query and each call has a time limit. The limits end the
waiting, though, and not the work; and nobody hears that the client has left.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.data import FIND_PRODUCT, FIND_USER, REPORT, connection
from demo.watch import Watch

UPSTREAM = os.environ.get("DEMO_UPSTREAM", "")
ATTEMPTS = 3

watch = Watch()
background: set[asyncio.Task[None]] = set()


def find_user(user: int) -> dict[str, object] | None:
    row = connection().execute(FIND_USER, (user,)).fetchone()
    return None if row is None else {"id": row[0], "name": row[1]}


async def get_user(request: Request) -> Response:
    try:
        async with asyncio.timeout(0.5):
            user = await asyncio.to_thread(find_user, int(request.path_params["id"]))
    except TimeoutError:
        return JSONResponse({"error": "timed out"}, 504)
    if user is None:
        return JSONResponse({"error": "no such user"}, 404)
    return JSONResponse(user)


def count_everything(request_id: str) -> list[object]:
    with watch.query(request_id):
        return list(connection().execute(REPORT).fetchone())


async def get_report(request: Request) -> Response:
    try:
        async with asyncio.timeout(2.0):
            report = await asyncio.to_thread(
                count_everything, watch.id_of(request.scope)
            )
    except TimeoutError:
        return JSONResponse({"error": "timed out"}, 504)
    return JSONResponse(report)


async def get_feed(request: Request) -> Response:
    try:
        answer = await request.app.state.client.get(f"{UPSTREAM}/feed")
    except httpx.TimeoutException:
        return JSONResponse({"error": "timed out"}, 504)
    return JSONResponse(answer.json())


async def fetch(client: httpx.AsyncClient, path: str) -> object:
    answer = await client.get(f"{UPSTREAM}/{path}")
    return answer.raise_for_status().json()


def find_product(product: int) -> dict[str, object]:
    row = connection().execute(FIND_PRODUCT, (product,)).fetchone()
    return {"id": row[0], "name": row[1], "price": row[2]}


async def get_product(request: Request) -> Response:
    product, client = request.path_params["id"], request.app.state.client
    try:
        async with asyncio.timeout(2.0):
            info, reviews, stock, recommendations = await asyncio.gather(
                asyncio.to_thread(find_product, product),
                fetch(client, f"reviews/{product}"),
                fetch(client, f"stock/{product}"),
                fetch(client, f"recommendations/{product}"),
            )
    except TimeoutError:
        return JSONResponse({"error": "timed out"}, 504)
    except httpx.HTTPError as exc:
        return JSONResponse({"error": str(exc)}, 502)
    page = {"reviews": reviews, "stock": stock, "recommendations": recommendations}
    return JSONResponse({**info, **page})


async def get_dashboard(request: Request) -> Response:
    client = request.app.state.client
    paths = ["reviews/10", "stock/10", "recommendations/10"]
    parts = await asyncio.gather(
        *(fetch(client, path) for path in paths), return_exceptions=True
    )
    known = {
        path: part
        for path, part in zip(paths, parts, strict=True)
        if not isinstance(part, BaseException)
    }
    return JSONResponse({"parts": known, "missing": len(parts) - len(known)})


def in_background(work: Coroutine[None, None, None]) -> None:
    task = asyncio.create_task(work)
    background.add(task)
    task.add_done_callback(background.discard)


async def capture(client: httpx.AsyncClient, payment: str) -> None:
    await client.post(f"{UPSTREAM}/charges/{payment}", timeout=10.0)


async def post_payment(request: Request) -> Response:
    payment = request.path_params["id"]
    in_background(capture(request.app.state.client, payment))
    return JSONResponse({"payment": payment}, 202)


async def prefetch(client: httpx.AsyncClient, cart: int) -> None:
    for attempt in range(ATTEMPTS):
        try:
            await client.get(f"{UPSTREAM}/recommendations/cart/{cart}")
        except httpx.HTTPError:
            await asyncio.sleep(0.05 * 2**attempt)
        else:
            return


async def get_cart(request: Request) -> Response:
    cart = request.path_params["id"]
    in_background(prefetch(request.app.state.client, cart))
    return JSONResponse({"cart": cart, "items": [cart + 1]})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=2.0) as client:  # for each read, not in all
        app.state.client = client
        yield


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
app = watch.around(service)
