"""Applications that are stopped in the tests of the stop, and say what happens."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from tether import Context, WaitGroup, background, current
from tether.ext.asgi import ContextMiddleware, Service
from tether.ext.fastapi import Ctx
from tether.ext.uvicorn import header_timeout

payments = WaitGroup(background(), timeout=60.0)


def say(*words: object) -> None:
    """Tell the test, in whole lines."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def gate() -> None:
    """Wait until the test says so."""
    while not await asyncio.to_thread(Path(os.environ["GATE"]).exists):
        await asyncio.sleep(0.01)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    say("up")
    yield
    current().check()  # what the shutdown needs is not ended
    say("down")


api = FastAPI(lifespan=lifespan)


@api.get("/quick")
async def quick() -> str:
    return "quick"


@api.get("/left")
async def left() -> int:
    return round(current().remaining())


@api.get("/moment")
async def moment() -> str:
    await asyncio.sleep(0.03)
    return "moment"


@api.get("/gated")
async def gated() -> str:
    say("gated")
    await gate()
    say("gated over")
    return "gated"


@api.get("/slow")
async def slow() -> str:
    say("slow")
    ctx = current()
    try:
        await asyncio.sleep(3600.0)
    finally:
        await asyncio.sleep(0.1)
        say("slow over:", ctx.cause())
    return "slow"


@api.get("/thread")
def thread(ctx: Ctx) -> str:
    say("thread")
    try:
        ctx.sleep(3600.0)
    finally:
        say("thread over:", ctx.cause())
    return "thread"


@api.get("/stuck")
def stuck() -> str:
    say("stuck")
    time.sleep(3600.0)
    return "stuck"


@api.get("/abandoned")
async def abandoned() -> None:
    say("abandoned")
    await asyncio.to_thread(time.sleep, 3600.0)


@api.get("/events")
async def events() -> StreamingResponse:
    ctx = current()

    async def stream() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: x\n\n"
                await asyncio.sleep(0.02)
        finally:
            say("events over:", ctx.cause())

    return StreamingResponse(stream(), media_type="text/event-stream")


@api.get("/flood")
async def flood() -> StreamingResponse:
    async def stream() -> AsyncIterator[bytes]:
        say("flood")
        while True:
            yield bytes(1 << 20)

    return StreamingResponse(stream())


@api.websocket("/socket")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    finally:
        say("socket over")


async def capture(ctx: Context) -> None:
    await gate()
    say("captured")


@api.post("/payments", status_code=202)
async def pay(ctx: Ctx) -> str:
    payments.go_with(ctx, capture)
    return "promised"


@api.post("/mails", status_code=202)
async def mail(later: BackgroundTasks) -> str:
    async def send() -> None:
        await gate()
        say("sent")

    later.add_task(send)
    return "later"


def times() -> dict[str, Any]:
    given = os.environ.get("TIMES", "")
    return {
        name: float(value)
        for name, value in (one.split("=") for one in given.split(",") if one)
    }


app = Service(api, **times())
wrapped = ContextMiddleware(api, timeout=0.2)
protocol = header_timeout(0.3)
number = 7


def make() -> FastAPI:
    return api


# -- applications with no lifespan, or half of one -----------------------------------


async def answer(scope: Any, receive: Any, send: Any) -> None:
    say(scope["path"])
    if scope["path"] == "/gated":
        await gate()
        say("gated over")
    headers = [(b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"answer"})


async def raises(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(scope, receive, send)


async def returns(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await answer(scope, receive, send)


async def confuses(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await answer(scope, receive, send)


async def leaves_early(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await answer(scope, receive, send)


async def fails_to_start(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
