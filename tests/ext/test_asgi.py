"""ContextMiddleware under a real server, and message by message."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.ext.serving import STACKS, Served, get, read, serve, until
from tests.loops import Run
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    background,
    current,
)
from tether.ext.asgi import ContextMiddleware

log: list[str] = []
contexts: list[Context] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    log.clear()
    contexts.clear()


async def slow(_: Request) -> Response:
    contexts.append(current())
    log.append("began")
    try:
        await asyncio.sleep(60.0)
    except asyncio.CancelledError:
        log.append("interrupted")
        raise
    return PlainTextResponse("slept")


def in_a_thread(_: Request) -> Response:
    ctx = current()
    contexts.append(ctx)
    log.append("began")
    log.append(f"told: {ctx.wait(10.0)}")
    return PlainTextResponse("done")


async def digest(request: Request) -> Response:
    await asyncio.sleep(0.06)  # the listener is there before the body is read
    body = await request.body()
    return PlainTextResponse(hashlib.sha1(body).hexdigest())


async def streamed(_: Request) -> Response:
    contexts.append(current())

    async def pieces() -> AsyncIterator[bytes]:
        log.append("began")
        try:
            for _ in range(1000):
                yield b"x" * 100
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            log.append("interrupted")
            raise

    return StreamingResponse(pieces())


async def with_background_task(_: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0.1)
        log.append("background task done")

    return PlainTextResponse("ok", background=BackgroundTask(later))


async def asks_whether_gone(request: Request) -> Response:
    log.append("began")
    while not await request.is_disconnected():
        await asyncio.sleep(0.005)
    log.append("saw it")
    return PlainTextResponse("gone")


async def quick(_: Request) -> Response:
    return PlainTextResponse(f"{len(asyncio.all_tasks())} {current().label}")


async def own_deadline(_: Request) -> Response:
    with current().with_timeout(0.005):
        await asyncio.sleep(60.0)
    return PlainTextResponse("?")


async def broken(_: Request) -> Response:
    raise KeyError("handler")


ROUTES = [
    Route("/slow", slow),
    Route("/thread", in_a_thread),
    Route("/digest", digest, methods=["POST"]),
    Route("/streamed", streamed),
    Route("/background", with_background_task),
    Route("/gone", asks_whether_gone),
    Route("/quick", quick),
    Route("/own", own_deadline),
    Route("/broken", broken),
]


async def through(
    request: Request, call: Callable[[Request], Awaitable[Response]]
) -> Response:
    return await call(request)


@pytest.fixture(params=STACKS, ids=lambda stack: "-".join(stack))
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serve(ContextMiddleware(Starlette(routes=ROUTES)), request.param) as it:
        yield it


def test_a_handler_ends_when_its_client_leaves(served: Served) -> None:
    connection = served.ask(get("/slow"))
    until(lambda: log == ["began"], "the handler begins")
    connection.close()
    until(lambda: log == ["began", "interrupted"], "it is interrupted")
    assert isinstance(contexts[0].err(), Canceled)
    assert isinstance(contexts[0].cause(), ClientDisconnected)
    assert served.problems.said == []


def test_it_ends_behind_a_base_http_middleware_too() -> None:
    app = Starlette(
        routes=ROUTES, middleware=[Middleware(BaseHTTPMiddleware, dispatch=through)]
    )
    with serve(ContextMiddleware(app)) as it:
        connection = it.ask(get("/slow"))
        until(lambda: log == ["began"], "the handler begins")
        connection.close()
        until(lambda: "interrupted" in log, "it is interrupted")
        assert it.problems.said == []


def test_a_handler_in_a_thread_is_told(served: Served) -> None:
    connection = served.ask(get("/thread"))
    until(lambda: log == ["began"], "the handler begins")
    connection.close()
    until(lambda: log == ["began", "told: True"], "it is told")
    assert isinstance(contexts[0].cause(), ClientDisconnected)
    assert served.problems.said == []


def test_a_stream_ends_when_its_client_leaves(served: Served) -> None:
    connection = served.ask(get("/streamed"))
    until(lambda: log == ["began"], "the stream begins")
    connection.recv(100)
    connection.close()
    until(lambda: "interrupted" in log, "it is interrupted")
    until(lambda: contexts[0].done(), "its context is over")
    assert served.problems.said == []


def test_a_background_task_runs_on_after_the_answer(served: Served) -> None:
    with served.ask(get("/background")) as connection:
        assert read(connection) == (200, b"ok")
    until(lambda: log == ["background task done"], "the background task ends")
    assert served.problems.said == []


def test_is_disconnected_keeps_working(served: Served) -> None:
    connection = served.ask(get("/gone"))
    until(lambda: log == ["began"], "the handler begins")
    connection.close()
    until(lambda: len(log) == 2 or bool(served.problems.said), "it ends")
    assert served.problems.said == []


def test_a_request_that_ends_quickly_costs_no_task(served: Served) -> None:
    with served.ask(get("/quick")) as connection:
        with_ours = read(connection)
    with serve(Starlette(routes=ROUTES)) as bare:
        without = bare.answer(get("/quick"))
    assert with_ours[1].split()[0] == without[1].split()[0]
    assert with_ours[1].endswith(b"GET /quick")


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole_and_late(served: Served, size: int, chunked: bool) -> None:
    body = bytes(n % 251 for n in range(size))
    head = b"POST /digest HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    if chunked:
        pieces = [body[n : n + 70_000] for n in range(0, size, 70_000)]
        encoded = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        request = head + b"Transfer-Encoding: chunked\r\n\r\n" + encoded + b"0\r\n\r\n"
    else:
        request = head + b"Content-Length: %d\r\n\r\n" % size + body
    status, answer = served.answer(request)
    assert (status, answer.decode()) == (200, hashlib.sha1(body).hexdigest())


def test_expect_100_continue_is_answered_when_the_handler_reads(served: Served) -> None:
    head = b"POST /digest HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    expect = b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with served.ask(head + expect) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"body")
        status, answer = read(connection)
    assert (status, answer.decode()) == (200, hashlib.sha1(b"body").hexdigest())


def test_a_handler_that_fails_is_answered_as_without_us(served: Served) -> None:
    assert served.answer(get("/broken"))[0] == 500
    served.problems.said.clear()


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: "-".join(stack))
def test_a_request_whose_time_runs_out_is_answered_504(stack: tuple[str, str]) -> None:
    app = ContextMiddleware(Starlette(routes=ROUTES), timeout=0.05)
    with serve(app, stack) as it:
        status, _ = it.answer(get("/slow"))
        assert status == 504
        assert log == ["began", "interrupted"]
        assert isinstance(contexts[0].err(), DeadlineExceeded)
        status, body = it.answer(get("/streamed"))  # begun: it is cut off
        assert status == 200
        assert not body.endswith(b"0\r\n\r\n")
        assert it.answer(get("/quick"))[0] == 200
        assert not any("Traceback" in said for said in it.problems.said)


def test_a_deadline_of_the_handlers_own_is_its_own_error() -> None:
    app = ContextMiddleware(Starlette(routes=ROUTES), timeout=60.0)
    with serve(app) as it:
        assert it.answer(get("/own"))[0] == 500
        it.has_logged("context deadline exceeded")


# -- message by message --------------------------------------------------------------


HTTP: dict[str, object] = {"type": "http", "method": "GET", "path": "/", "headers": []}


async def _nothing(*message: Any) -> Any:
    raise AssertionError(f"not expected here: {message}")


def test_lifespan_goes_straight_through(run: Run) -> None:
    async def main() -> None:
        seen = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append((scope["type"], receive, send))

        await ContextMiddleware(app)({"type": "lifespan"}, _nothing, _nothing)
        assert seen == [("lifespan", _nothing, _nothing)]

    run(main)


def test_a_websocket_has_a_context_for_the_connection(run: Run) -> None:
    async def main() -> None:
        seen: list[Context] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(current())
            assert not current().done()

        scope: dict[str, object] = {"type": "websocket", "path": "/live"}
        await ContextMiddleware(app, timeout=1.0)(scope, _nothing, _nothing)
        assert seen[0].label == "WS /live"
        assert seen[0].deadline is None
        assert seen[0].done()

    run(main)


def test_the_context_does_not_descend_from_what_is_current(run: Run) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert current().deadline is None
            text = re.sub(r"request-id, [0-9a-f]+-[0-9]+", "ID", str(current()))
            assert text == "context.Background.WithValue(ID).WithCancel"

        scope = dict(HTTP)
        with background().with_timeout(60.0):
            await ContextMiddleware(app)(scope, _nothing, _nothing)

    run(main)


def test_the_end_of_a_block_around_the_server_passes_untouched(run: Run) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            around.cancel()
            await asyncio.sleep(60.0)

        scope = dict(HTTP)
        around = background().with_cancel()
        with pytest.raises(Canceled) as caught:
            with around:
                await ContextMiddleware(app)(scope, _nothing, _nothing)
        assert caught.value.ctx is around

    run(main)


def test_a_foreign_cancel_of_the_request_passes_untouched(run: Run) -> None:
    async def main() -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(60.0)

        scope = dict(HTTP)
        task = asyncio.create_task(ContextMiddleware(app)(scope, _nothing, _nothing))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


@pytest.mark.parametrize("timeout", ["soon", float("nan"), object()])
def test_a_wrong_timeout_is_refused_at_once(timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ContextMiddleware(_nothing, timeout=timeout)


logging.getLogger("uvicorn").setLevel(logging.ERROR)
