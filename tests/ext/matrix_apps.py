"""The same endpoints in each framework, in one server process.

Which one a request is for is the first part of its path. The last part is the number of
the test, which the endpoints read from the label of `current()` and print with all that
they see. Run by `tests.ext.matrix`.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from tether import Context, current
from tether.ext.asgi import ContextMiddleware

LATE = 0.05  # the listener is there before the body is read
FOREVER = 30.0
SHORT = 0.1  # the timeout of /deadline


def note(what: str, ctx: Context | None = None) -> None:
    number = (ctx or current()).label.rpartition("/")[2]
    sys.stdout.write(f"@ {number} {what}\n")
    sys.stdout.flush()


# -- what the endpoints do -------------------------------------------------------------


async def slow() -> str:
    note("began")
    try:
        await asyncio.sleep(FOREVER)
    except asyncio.CancelledError:
        note("interrupted")
        raise
    return "slept"


async def stream() -> AsyncIterator[bytes]:
    note("began")
    try:
        for _ in range(1000):
            yield b"x" * 100
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note("interrupted")
        raise


async def background() -> None:
    await asyncio.sleep(2 * SHORT)
    note(f"background task done, deadline {current().deadline}")


def digest(body: bytes | str) -> str:
    assert isinstance(body, bytes)
    return hashlib.sha1(body).hexdigest()


async def late() -> None:
    await asyncio.sleep(LATE)


# -- one application a framework -------------------------------------------------------


async def raw(scope: Any, receive: Any, send: Any) -> None:
    async def body() -> bytes:
        whole, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise OSError("the client left")
            whole += message["body"]
            more = message["more_body"]
        return whole

    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            await send({"type": f"lifespan.{step}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    what = scope["path"].split("/")[1]
    answer = b"ok"
    if what in {"slow", "deadline"}:
        await slow()
    elif what == "upload":
        await body()
    elif what == "digest":
        await late()
        answer = digest(await body()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if what == "stream":
        async for piece in stream():
            part = {"type": "http.response.body", "body": piece, "more_body": True}
            await send(part)
    await send({"type": "http.response.body", "body": answer})
    if what == "background":
        await background()


def starlette(*middleware: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute

    async def sleeps(_: Any) -> Any:
        return PlainTextResponse(await slow())

    async def streams(_: Any) -> Any:
        return StreamingResponse(stream())

    async def uploaded(request: Any) -> Any:
        return PlainTextResponse(digest(await request.body()))

    async def digested(request: Any) -> Any:
        await late()
        return PlainTextResponse(digest(await request.body()))

    async def goes_on(_: Any) -> Any:
        return PlainTextResponse("ok", background=BackgroundTask(background))

    async def echo(socket: Any) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    routes = [
        Route("/slow/{n}", sleeps),
        Route("/deadline/{n}", sleeps),
        Route("/stream/{n}", streams),
        Route("/upload/{n}", uploaded, methods=["POST"]),
        Route("/digest/{n}", digested, methods=["POST"]),
        Route("/background/{n}", goes_on),
        WebSocketRoute("/ws/{n}", echo),
    ]
    return Starlette(routes=routes, middleware=[*middleware])


def starlette_base() -> Any:
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware

    async def through(request: Any, call: Any) -> Any:
        return await call(request)

    return starlette(Middleware(BaseHTTPMiddleware, dispatch=through))


def fastapi() -> Any:
    from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
    from fastapi.responses import PlainTextResponse, StreamingResponse

    from tether.ext.fastapi import Ctx

    app = FastAPI()
    # Its annotations are looked up in the module.
    globals().update(
        Ctx=Ctx, Request=Request, WebSocket=WebSocket, BackgroundTasks=BackgroundTasks
    )

    @app.get("/slow/{n}")
    @app.get("/deadline/{n}")
    async def sleeps(ctx: Ctx) -> str:
        assert ctx is current()
        return await slow()

    @app.get("/stream/{n}")
    async def streams() -> Any:
        return StreamingResponse(stream())

    @app.post("/upload/{n}")
    async def uploaded(request: Request) -> Any:
        return PlainTextResponse(digest(await request.body()))

    @app.post("/digest/{n}")
    async def digested(request: Request) -> Any:
        await late()
        return PlainTextResponse(digest(await request.body()))

    @app.get("/background/{n}")
    async def goes_on(tasks: BackgroundTasks) -> str:
        tasks.add_task(background)
        return "ok"

    @app.websocket("/ws/{n}")
    async def echo(socket: WebSocket, ctx: Ctx) -> None:
        assert not ctx.done()
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    return app


def litestar() -> Any:
    from litestar import Litestar, Request, WebSocket, get, post, websocket
    from litestar.background_tasks import BackgroundTask
    from litestar.exceptions import WebSocketDisconnect
    from litestar.response import Response, Stream

    @get(["/slow/{n:str}", "/deadline/{n:str}"])
    async def sleeps() -> str:
        return await slow()

    @get("/stream/{n:str}")
    async def streams() -> Stream:
        return Stream(stream())

    @post("/upload/{n:str}")
    async def uploaded(request: Request[Any, Any, Any]) -> str:
        return digest(await request.body())

    @post("/digest/{n:str}", status_code=200, media_type="text/plain")
    async def digested(request: Request[Any, Any, Any]) -> str:
        await late()
        return digest(await request.body())

    @get("/background/{n:str}", media_type="text/plain")
    async def goes_on() -> Response[str]:
        return Response("ok", background=BackgroundTask(background))

    @websocket("/ws/{n:str}")
    async def echo(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect:
            return

    # Its annotations are looked up in the module.
    globals().update(
        Request=Request, WebSocket=WebSocket, Stream=Stream, Response=Response
    )
    handlers: list[Any] = [sleeps, streams, uploaded, digested, goes_on, echo]
    return Litestar(handlers, openapi_config=None)


def quart() -> Any:
    from quart import Quart, request, websocket

    app = Quart(__name__)

    @app.get("/slow/<n>")
    @app.get("/deadline/<n>")
    async def sleeps(n: str) -> Any:
        return await slow()

    @app.get("/stream/<n>")
    async def streams(n: str) -> Any:
        return stream()

    @app.post("/upload/<n>")
    async def uploaded(n: str) -> Any:
        return digest(await request.get_data())

    @app.post("/digest/<n>")
    async def digested(n: str) -> Any:
        await late()
        return digest(await request.get_data())

    @app.get("/background/<n>")
    async def goes_on(n: str) -> Any:
        app.add_background_task(background)
        return "ok"

    @app.websocket("/ws/<n>")
    async def echo(n: str) -> None:
        while True:
            await websocket.send(await websocket.receive())

    return app


def django() -> Any:
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        ROOT_URLCONF=__name__,
        SECRET_KEY="test",
    )
    import django as package

    package.setup()
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    class Later(HttpResponse):
        """Django has no background tasks; what it calls last is this."""

        def close(self) -> None:
            super().close()
            current().sleep(2 * SHORT)
            note(f"background task done, deadline {current().deadline}")

    async def sleeps(_: Any, n: str) -> Any:
        return HttpResponse(await slow())

    async def streams(_: Any, n: str) -> Any:
        return StreamingHttpResponse(stream())

    async def uploaded(request: Any, n: str) -> Any:
        return HttpResponse(digest(request.body))

    async def digested(request: Any, n: str) -> Any:
        await late()
        return HttpResponse(digest(request.body))

    async def goes_on(_: Any, n: str) -> Any:
        return Later("ok")

    views = {
        "slow": sleeps,
        "deadline": sleeps,
        "stream": streams,
        "upload": uploaded,
        "digest": digested,
        "background": goes_on,
    }
    urls = [path(f"{name}/<n>", view) for name, view in views.items()]
    globals()["urlpatterns"] = urls
    return get_asgi_application()


FRAMEWORKS: dict[str, Callable[[], Any]] = {
    "raw": lambda: raw,
    "starlette": starlette,
    "starlette, BaseHTTPMiddleware": starlette_base,
    "fastapi": fastapi,
    "litestar": litestar,
    "quart": quart,
    "django": django,
}


# -- one server for all ----------------------------------------------------------------


def timeout_of(scope: Any) -> float:
    return SHORT if scope["path"].startswith(("/deadline", "/background")) else FOREVER


class Noted:
    """Inside the middleware: keeps the context for who says how it has ended."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope["context"] = current()
        await self.app(scope, receive, send)


class Everything:
    """Sends each request to its framework, and the lifespan to all."""

    def __init__(self) -> None:
        made = [make() for make in FRAMEWORKS.values()]
        self.apps = {
            str(number): ContextMiddleware(Noted(app), timeout_of)
            for number, app in enumerate(made)
        }
        # Django's has none.
        self.alive = [
            self.apps[str(n)] for n, name in enumerate(FRAMEWORKS) if name != "django"
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        _, which, *rest = scope["path"].split("/")
        path = "/" + "/".join(rest)
        inner = {**scope, "path": path, "raw_path": path.encode()}
        try:
            await self.apps[which](inner, receive, send)
        finally:
            ctx = inner["context"]
            note(f"over: {type(ctx.cause()).__name__}", ctx)

    async def lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        inboxes = [asyncio.Queue[Any]() for _ in self.alive]
        outbox = asyncio.Queue[Any]()
        tasks = [
            asyncio.ensure_future(app({**scope, "state": {}}, inbox.get, outbox.put))
            for app, inbox in zip(self.alive, inboxes)
        ]
        for _ in range(2):
            message = await receive()
            for inbox in inboxes:
                inbox.put_nowait(message)
            for _ in tasks:
                answer = await outbox.get()
                assert answer["type"] == message["type"] + ".complete", answer
            await send({"type": message["type"] + ".complete"})
        await asyncio.gather(*tasks)
