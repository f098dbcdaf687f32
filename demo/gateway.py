"""The service, on tether: the code to copy.

Every handler takes the request's context at the door, `current()`, and hands it down.
It is over when the client leaves or when the request's time has run out, and with it
the query in its thread and the call to the other service.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.data import FIND_USER, REPORT, connection
from demo.watch import Watch
from tether import Context, DeadlineExceeded, current
from tether.ext.asgi import ContextMiddleware
from tether.ext.sqlite import fetch_one

watch = Watch()


def find_user(ctx: Context, user: int) -> dict[str, object] | None:
    row = fetch_one(ctx, connection(), FIND_USER, (user,))
    return None if row is None else {"id": row[0], "name": row[1]}


async def get_user(request: Request) -> Response:
    ctx = current()
    try:
        with ctx.with_timeout(0.5) as query:
            user = await asyncio.to_thread(
                find_user, query, int(request.path_params["id"])
            )
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
    ctx = current()
    report = await asyncio.to_thread(count_everything, ctx, watch.id_of(request.scope))
    return JSONResponse(report)


async def get_feed(request: Request) -> Response:
    # httpx knows nothing of contexts. The request's block bounds it all the same.
    answer = await request.app.state.client.get(os.environ["DEMO_UPSTREAM"])
    return JSONResponse(answer.json())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=10.0) as client:
        app.state.client = client
        yield


service = Starlette(
    routes=[
        Route("/users/{id:int}", get_user),
        Route("/report", get_report),
        Route("/feed", get_feed),
    ],
    lifespan=lifespan,
)
app = watch.around(ContextMiddleware(service, timeout=2.0))
