"""The same gateway without tether, written with care, as it is written today.

Every step has its timeout. What a timeout ends is the waiting; the query in its thread
goes on, the upstream that sends a byte now and then never times out, and no handler
hears that its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from demo.database import FIND_USER, REPORT, connect
from demo.settings import Settings

log = logging.getLogger(__name__)


async def user(request: Request) -> Response:
    settings: Settings = request.app.state.settings
    query = asyncio.to_thread(find_user, settings.database, request.path_params["id"])
    try:
        row = await asyncio.wait_for(query, 0.5)
    except TimeoutError:
        log.warning("user: timed out")
        return JSONResponse({"error": "timed out"}, 504)
    if row is None:
        return JSONResponse({"error": "no such user"}, 404)
    return JSONResponse({"id": row[0], "name": row[1]})


def find_user(database: str, uid: int) -> tuple[Any, ...] | None:
    with closing(connect(database)) as conn:
        row: tuple[Any, ...] | None = conn.execute(FIND_USER, (uid,)).fetchone()
        return row


async def report(request: Request) -> Response:
    settings: Settings = request.app.state.settings
    query = asyncio.to_thread(make_report, settings.database)
    try:
        rows = await asyncio.wait_for(query, 2.0)
    except TimeoutError:
        log.warning("report: timed out")
        return JSONResponse({"error": "timed out"}, 504)
    return JSONResponse([list(row) for row in rows])


def make_report(database: str) -> list[tuple[Any, ...]]:
    with closing(connect(database)) as conn:
        return conn.execute(REPORT).fetchall()


async def feed(request: Request) -> Response:
    client: httpx.AsyncClient = request.app.state.client
    settings: Settings = request.app.state.settings
    try:
        answer = await client.get(f"{settings.upstream}/feed", timeout=1.0)
    except httpx.TimeoutException:
        log.warning("feed: timed out")
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
    return app
