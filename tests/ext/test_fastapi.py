"""Ctx in the signature of FastAPI's endpoints."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from websockets.sync.client import connect

from tests.ext.serving import Served, get, serve, until
from tether import ClientDisconnected, Context, DeadlineExceeded, background, current
from tether.ext.asgi import ContextMiddleware
from tether.ext.fastapi import Ctx, request_context

log: list[object] = []
contexts: list[Context] = []
api = FastAPI()


def user(ctx: Ctx) -> str:
    return ctx.label


@api.get("/coroutine")
async def coroutine(ctx: Ctx, who: Annotated[str, Depends(user)]) -> dict[str, Any]:
    return {"same": ctx is current(), "label": ctx.label, "who": who}


@api.get("/function")
def function(ctx: Ctx, n: int = 1) -> dict[str, Any]:
    aside = threading.current_thread() is not threading.main_thread()
    return {"same": ctx is current(), "aside": aside, "n": n}


@api.get("/slow")
async def slow(ctx: Ctx) -> None:
    contexts.append(ctx)
    log.append("began")
    await asyncio.sleep(60.0)


@api.get("/thread")
def in_a_thread(ctx: Ctx) -> None:
    contexts.append(ctx)
    log.append("began")
    with ctx.with_timeout(30.0) as query:
        query.sleep(30.0)


@api.get("/later")
async def later(ctx: Ctx, tasks: BackgroundTasks) -> str:
    def sync() -> None:
        log.append((current().label, current().deadline, current() is not ctx))

    tasks.add_task(sync)
    return "ok"


@api.websocket("/ws")
async def echo(socket: WebSocket, ctx: Ctx) -> None:
    contexts.append(ctx)
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{ctx.label} {text}")


@pytest.fixture
def served() -> Iterator[Served]:
    log.clear()
    contexts.clear()
    with serve(ContextMiddleware(api, timeout=0.5)) as it:
        yield it
    assert it.problems.said == []


def test_a_coroutine_gets_what_is_current(served: Served) -> None:
    status, body = served.answer(get("/coroutine"))
    label = b'"GET /coroutine"'
    assert (status, body) == (
        200,
        b'{"same":true,"label":' + label + b',"who":' + label + b"}",
    )


def test_a_plain_function_gets_it_in_its_thread(served: Served) -> None:
    answer = served.answer(get("/function?n=7"))
    assert answer == (200, b'{"same":true,"aside":true,"n":7}')


def test_ctx_is_no_parameter_of_the_request() -> None:
    operation = api.openapi()["paths"]["/function"]["get"]
    assert [one["name"] for one in operation["parameters"]] == ["n"]


@pytest.mark.parametrize("path", ["/slow", "/thread"])
def test_out_of_time_is_a_504_and_no_crash(served: Served, path: str) -> None:
    status, _ = served.answer(get(path))
    assert status == 504
    assert isinstance(contexts[0].err(), DeadlineExceeded)


@pytest.mark.parametrize("path", ["/slow", "/thread"])
def test_the_client_that_leaves_ends_it(served: Served, path: str) -> None:
    connection = served.ask(get(path))
    until(lambda: log, "the endpoint begins")
    connection.close()
    until(contexts[0].done, "it is over")
    assert isinstance(contexts[0].cause(), ClientDisconnected)


def test_background_tasks_find_the_values_in_current(served: Served) -> None:
    assert served.answer(get("/later"))[0] == 200
    until(lambda: log, "the task runs")
    assert log == [("GET /later", None, True)]


def test_a_websocket_has_one_too(served: Served) -> None:
    with connect(f"ws://127.0.0.1:{served.port}/ws", proxy=None) as client:
        client.send("hello")
        assert client.recv(timeout=10.0) == "WS /ws hello"
    until(contexts[0].done, "it is over")
    assert isinstance(contexts[0].cause(), ClientDisconnected)


def test_without_the_middleware_the_error_says_so() -> None:
    with serve(api) as it:
        assert it.answer(get("/coroutine"))[0] == 500
        it.has_logged("ContextMiddleware(app) of tether.ext")


def test_a_test_may_put_its_own_in_place() -> None:
    own = background().with_timeout(60.0, label="of the test")
    api.dependency_overrides[request_context] = lambda: own
    try:
        with serve(api) as it:
            answer = it.answer(get("/coroutine"))
        assert b'"label":"of the test"' in answer[1]
    finally:
        api.dependency_overrides.clear()
        own.cancel()
