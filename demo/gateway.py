"""The gateway, with tether.

Each handler asks for its request's context, gives each step less time than is left, and
hands the context to whatever can block. Nothing else is needed for the work to end when
the client has gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from demo.database import FIND_USER, REPORT, connect
from demo.settings import Settings
from tether import Context, DeadlineExceeded, current
from tether.ext.asgi import ASGIApp, ContextMiddleware
from tether.ext.sqlite import Row, fetch_all, fetch_one

log = logging.getLogger(__name__)


async def user(request: Request) -> Response:
    """Out of time is told apart from not found; any other error is Starlette's 500."""
    settings: Settings = request.app.state.settings
    try:
        with current().with_timeout(0.5) as budget:
            row = await asyncio.to_thread(
                find_user, budget, settings.database, request.path_params["id"]
            )
    except DeadlineExceeded as exc:
        log.warning("user: %s", exc.detail)
        return JSONResponse({"error": "timed out"}, 504)
    if row is None:
        return JSONResponse({"error": "no such user"}, 404)
    return JSONResponse({"id": row[0], "name": row[1]})


def find_user(ctx: Context, database: str, uid: int) -> Row | None:
    with closing(connect(database)) as conn:
        return fetch_one(ctx, conn, FIND_USER, (uid,))


async def report(request: Request) -> Response:
    """Takes as long as the request may: the middleware answers when that is over."""
    settings: Settings = request.app.state.settings
    rows = await asyncio.to_thread(make_report, current(), settings.database)
    return JSONResponse([list(row) for row in rows])


def make_report(ctx: Context, database: str) -> list[Row]:
    with closing(connect(database)) as conn:
        return fetch_all(ctx, conn, REPORT)


async def feed(request: Request) -> Response:
    """The block bounds what knows nothing of contexts, too: here httpx."""
    client: httpx.AsyncClient = request.app.state.client
    settings: Settings = request.app.state.settings
    try:
        with current().with_timeout(1.0):
            answer = await client.get(f"{settings.upstream}/feed", timeout=None)
    except DeadlineExceeded as exc:
        log.warning("feed: %s", exc.detail)
        return JSONResponse({"error": "timed out"}, 504)
    return Response(answer.content, media_type="text/plain")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with httpx.AsyncClient() as app.state.client:
        yield


def make_app(settings: Settings) -> ASGIApp:
    app = Starlette(
        routes=[
            Route("/users/{id:int}", user),
            Route("/report", report),
            Route("/feed", feed),
        ],
        lifespan=lifespan,
    )
    app.state.settings = settings
    return ContextMiddleware(app, timeout=2.0)
