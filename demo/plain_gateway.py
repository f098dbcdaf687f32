"""The same service without tether, as it is usually written.

Nothing here is careless: each query and each call has a time limit. The limits end the
waiting, though, and not the work; and nobody hears that the client has left.
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

watch = Watch()


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
        answer = await request.app.state.client.get(os.environ["DEMO_UPSTREAM"])
    except httpx.TimeoutException:
        return JSONResponse({"error": "timed out"}, 504)
    return JSONResponse(answer.json())


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
    ],
    lifespan=lifespan,
)
app = watch.around(service)
