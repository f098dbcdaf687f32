"""What Starlette documents is answered with the same bytes, with and without us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    SimpleUser,
    requires,
)
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.config import Config
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from websockets.sync.client import connect

from tests.ext.serving import STACKS, Served, serve, until
from tether.ext.asgi import ContextMiddleware

done: list[str] = []
here = Path(__file__)
BIG = bytes(n % 251 for n in range(300_000))


async def echo(request: Request) -> Response:
    body = await request.body()
    head = {"method": request.method, "length": len(body), "q": [*request.query_params]}
    return JSONResponse({**head, "again": len(await request.body())})


async def echo_stream(request: Request) -> Response:
    await asyncio.sleep(0.04)  # the listener is there

    async def upper() -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece.upper()

    return Response(b"".join([piece async for piece in upper()]))


async def as_json(request: Request) -> Response:
    return JSONResponse({"got": await request.json()})


async def form(request: Request) -> Response:
    async with request.form() as fields:
        upload: Any = fields["file"]
        text = f"{fields['name']} {upload.filename} {len(await upload.read())}"
    return PlainTextResponse(text)


async def cookies(request: Request) -> Response:
    response = PlainTextResponse(repr(request.cookies))
    response.set_cookie("seen", "yes", max_age=60)
    return response


async def count(request: Request) -> Response:
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(str(request.session["n"]))


async def pieces() -> AsyncIterator[str]:
    for n in range(5):
        yield f"data: {n}\n\n"
        await asyncio.sleep(0.012)


async def events(_: Request) -> Response:
    return StreamingResponse(pieces(), media_type="text/event-stream")


async def from_iterator(_: Request) -> Response:
    return StreamingResponse(iter(["a", "b", "c"]))


async def background(_: Request) -> Response:
    tasks = BackgroundTasks([BackgroundTask(done.append, "sync")])

    async def task() -> None:
        await asyncio.sleep(0.04)
        done.append("async")

    tasks.add_task(task)
    return PlainTextResponse("ok", background=tasks)


async def teapot(_: Request) -> Response:
    raise HTTPException(418, "short and stout", headers={"X-Pot": "tea"})


async def broken(_: Request) -> Response:
    raise KeyError("broken")


async def own_error(_: Request) -> Response:
    raise LookupError


async def not_found(_: Request, exc: Exception) -> Response:
    return JSONResponse({"handled": type(exc).__name__}, 404)


async def state(request: Request) -> Response:
    return JSONResponse({"state": request.state.started, "url": request.url.path})


def in_a_thread(request: Request) -> Response:
    return PlainTextResponse(request.path_params["name"])


class Endpoint(HTTPEndpoint):
    async def get(self, _: Request) -> Response:
        return HTMLResponse("<p>hello</p>")

    async def delete(self, _: Request) -> Response:
        return Response(status_code=204)


class Echo(WebSocketEndpoint):
    encoding = "text"  # type: ignore[mutable-override]

    async def on_receive(self, websocket: Any, data: Any) -> None:
        await websocket.send_text(f"echo {data}")

    async def on_disconnect(self, websocket: Any, close_code: int) -> None:
        await asyncio.sleep(0)
        done.append(f"closed {close_code}")


class Backend(AuthenticationBackend):
    async def authenticate(self, conn: Any) -> Any:
        if conn.headers.get("authorization") == "let me in":
            return AuthCredentials(["authenticated"]), SimpleUser("ann")
        return None


@requires("authenticated")
async def secret(request: Request) -> Response:
    return PlainTextResponse(request.user.display_name)


async def numbered(request: Request, call: Any) -> Response:
    response: Response = await call(request)
    response.headers["X-Middleware"] = request.method
    return response


@contextlib.asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
    yield {"started": str(Config()("NO_SUCH_SETTING", default="yes"))}


def file(_: Request) -> Response:
    return FileResponse(here, filename="it.py", stat_result=here.stat())


ROUTES = [
    Route("/echo", echo, methods=["GET", "POST", "PUT"]),
    Route("/stream-in", echo_stream, methods=["POST"]),
    Route("/json", as_json, methods=["POST"]),
    Route("/form", form, methods=["POST"]),
    Route("/cookies", cookies),
    Route("/events", events),
    Route("/iterator", from_iterator),
    Route("/background", background),
    Route("/teapot", teapot),
    Route("/broken", broken),
    Route("/own-error", own_error),
    Route("/state", state),
    Route("/thread/{name}", in_a_thread),
    Route("/file", file),
    Route("/big", lambda _: Response(BIG)),
    Route("/away", lambda _: RedirectResponse("/echo")),
    Route("/endpoint", Endpoint),
    Route("/secret", secret),
    Mount(
        "/session",
        routes=[Route("/", count)],
        middleware=[Middleware(SessionMiddleware, secret_key="test", max_age=None)],
    ),
    Mount(
        "/wrapped",
        routes=[Route("/echo", echo, methods=["POST"]), Route("/events", events)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=numbered)],
    ),
    Mount(
        "/zipped",
        routes=[Route("/", lambda _: PlainTextResponse("z" * 5000))],
        middleware=[Middleware(GZipMiddleware)],
    ),
    Mount("/static", StaticFiles(directory=here.parent)),
    Host("other.test", Starlette(routes=[Route("/", lambda _: Response(b"other"))])),
    WebSocketRoute("/ws", Echo),
]
MIDDLEWARE = [
    Middleware(
        TrustedHostMiddleware, allowed_hosts=["test", "other.test", "127.0.0.1"]
    ),
    Middleware(CORSMiddleware, allow_origins=["https://shop.test"]),
    Middleware(AuthenticationMiddleware, backend=Backend()),
]


def starlette() -> Starlette:
    return Starlette(
        routes=ROUTES,
        middleware=MIDDLEWARE,
        lifespan=lifespan,
        exception_handlers={LookupError: not_found},
    )


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nann\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    + BIG
    + b"\r\n--b--\r\n"
)
REQUESTS: dict[str, tuple[str, list[str], bytes]] = {
    "query": ("GET /echo?a=1&b=2", [], b""),
    "post": ("POST /echo", [], b"body"),
    "put a lot": ("PUT /echo", [], BIG),
    "stream in": ("POST /stream-in", [], BIG),
    "json": ("POST /json", [], json.dumps({"a": [1, 2]}).encode()),
    "form": ("POST /form", ["Content-Type: multipart/form-data; boundary=b"], FORM),
    "cookies": ("GET /cookies", ["Cookie: a=b"], b""),
    "session": ("GET /session/", [], b""),
    "server-sent events": ("GET /events", [], b""),
    "iterator": ("GET /iterator", [], b""),
    "background": ("GET /background", [], b""),
    "http exception": ("GET /teapot", [], b""),
    "crash": ("GET /broken", [], b""),
    "exception handler": ("GET /own-error", [], b""),
    "not found": ("GET /nowhere", [], b""),
    "wrong method": ("PATCH /echo", [], b""),
    "slash": ("GET /session", [], b""),
    "lifespan state": ("GET /state", [], b""),
    "path parameter": ("GET /thread/k%C3%A4se", [], b""),
    "file": ("GET /file", [], b""),
    "head of a file": ("HEAD /file", [], b""),
    "range of a file": ("GET /file", ["Range: bytes=10-30"], b""),
    "ranges of a file": ("GET /file", ["Range: bytes=0-4,10-14"], b""),
    "wrong range": ("GET /file", ["Range: bytes=9999999-"], b""),
    "static file": ("GET /static/__init__.py", [], b""),
    "big": ("GET /big", [], b""),
    "redirect": ("GET /away", [], b""),
    "endpoint": ("GET /endpoint", [], b""),
    "no content": ("DELETE /endpoint", [], b""),
    "refused": ("GET /secret", [], b""),
    "let in": ("GET /secret", ["Authorization: let me in"], b""),
    "gzip": ("GET /zipped/", ["Accept-Encoding: gzip"], b""),
    "base http middleware": ("POST /wrapped/echo", [], b"body"),
    "stream behind it": ("GET /wrapped/events", [], b""),
    "cors preflight": (
        "OPTIONS /echo",
        ["Origin: https://shop.test", "Access-Control-Request-Method: PUT"],
        b"",
    ),
    "other host": ("GET /", ["Host: other.test"], b""),
    "wrong host": ("GET /", ["Host: evil.test"], b""),
}
# What no two answers have in common.
VARYING = re.compile(
    rb"\r\ndate: [^\r]*|boundary=\w+|--[0-9a-f]{26}(?:--)?", re.IGNORECASE
)
ID = re.compile(rb"\r\nx-request-id: [0-9a-f]{16}-[0-9]+")


@pytest.fixture(params=STACKS, ids=lambda stack: "-".join(stack))
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Served, Served]]:
    done.clear()
    wrapped = ContextMiddleware(starlette(), timeout=60.0)
    with (
        serve(starlette(), request.param) as bare,
        serve(wrapped, request.param) as ours,
    ):
        yield bare, ours


def exchange(served: Served, name: str) -> bytes:
    line, headers, body = REQUESTS[name]
    if not any(header.startswith("Host:") for header in headers):
        headers = ["Host: test", *headers]
    lines = [f"{line} HTTP/1.1", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    received = b""
    with served.ask("\r\n".join([*lines, "", ""]).encode() + body) as connection:
        while piece := connection.recv(65536):
            received += piece
    return VARYING.sub(b"", received)


def test_every_answer_is_the_same_but_for_its_id(both: tuple[Served, Served]) -> None:
    bare, ours = both
    different = {}
    for name in REQUESTS:
        expected = exchange(bare, name)
        assert expected.startswith(b"HTTP/1.1 "), name
        got, ids = ID.subn(b"", exchange(ours, name))
        if (got, ids) != (expected, 1):
            different[name] = got, expected
    assert different == {}
    until(lambda: sorted(done) == ["async", "async", "sync", "sync"], "the tasks end")


def test_a_websocket_says_the_same(both: tuple[Served, Served]) -> None:
    for served in both:
        done.clear()
        with connect(f"ws://127.0.0.1:{served.port}/ws", proxy=None) as client:
            client.send("hello")
            assert client.recv(timeout=10.0) == "echo hello"
        until(lambda: done == ["closed 1000"], "it is told")
