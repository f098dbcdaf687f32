"""How a request ends: out of time, service stopping, beside a framework that listens."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from tests.core.support import LONG, here
from tests.ext.test_asgi_messages import DISCONNECT, OK, Server, eventually, raw
from tests.loops import Run
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Key,
    background,
    current,
)
from tether.ext.asgi import ContextMiddleware, _request

KEY: Key[str] = Key("key")
LAST = {"type": "http.response.body", "body": b"done"}


# -- the time ------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1.5])
def test_a_budget_that_is_over_on_arrival_is_answered_504_without_work(
    run: Run, seconds: float
) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            raise AssertionError

        server = Server()
        await server.run(app, lambda scope: seconds)
        assert server.status == 504
        assert server.read == 0

    run(main)


def test_the_timeout_may_depend_on_the_request(run: Run) -> None:
    async def main() -> None:
        seen: list[float | None] = []

        async def app(*_: Any) -> None:
            seen.append(current().deadline and round(current().remaining()))

        times = {"/slow": 60, "/quick": 1, "/stream": None}
        for path in times:
            await Server(path=path).run(app, lambda scope: times[scope["path"]])
        assert seen == [60, 1, None]

    run(main)


def test_a_timeout_that_is_no_number_is_an_error_of_the_application(run: Run) -> None:
    async def main() -> None:
        server = Server()
        with pytest.raises(TypeError, match="timeout is a number of seconds"):
            await server.run(raw(lambda *_: asyncio.sleep(0)), lambda scope: "soon")

    run(main)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.05])
def test_short_times_are_kept(run: Run, seconds: float) -> None:
    async def main() -> None:
        server = Server()
        await server.run(raw(lambda *_: asyncio.sleep(LONG)), seconds)
        assert server.status == 504

    run(main)


def test_the_error_names_where_the_middleware_was_made(run: Run) -> None:
    async def main() -> None:
        seen: list[BaseException | None] = []

        async def app(*_: Any) -> None:
            ctx = current()
            try:
                await asyncio.sleep(LONG)
            finally:
                seen.append(ctx.err())

        server: Any = Server(path="/checkout")
        served, line = ContextMiddleware(app, timeout=0.01), here()
        await served(server.scope, server.receive, server.send)
        [error] = seen
        assert isinstance(error, DeadlineExceeded)
        text = f"the 0.01 s budget set at {line} ran out [GET /checkout]"
        assert error.detail == text

    run(main)


def test_a_group_of_errors_that_all_say_so_is_a_504(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            ctx = current()
            await asyncio.sleep(0.03)
            raise ExceptionGroup("tasks", [DeadlineExceeded(ctx=ctx)])

        server = Server()
        await server.run(app, 0.02)
        assert server.status == 504
        assert server.read == 0

    run(main)


@pytest.mark.parametrize("in_a_thread", [False, True])
def test_too_little_time_is_a_504_too(run: Run, in_a_thread: bool) -> None:
    async def main() -> None:
        async def refuses(_: Any) -> Any:
            current().require(90.0)

        def also(_: Any) -> Any:
            current().require(90.0)

        routes = [Route("/", also if in_a_thread else refuses)]
        server = Server()
        await server.run(Starlette(routes=routes), 60.0)
        assert server.status == 504

    run(main)


@pytest.mark.parametrize("end", ["deadline", "stop"])
def test_an_application_that_swallows_its_end_is_answered_for(
    run: Run, end: str
) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                return

        server = Server()
        base = background().with_cancel()
        if end == "stop":
            asyncio.get_running_loop().call_later(0.02, base.cancel)
        await server.run(app, 60.0 if end == "stop" else 0.02, base=base)
        base.cancel()
        assert server.status == (503 if end == "stop" else 504)

    run(main)


# -- the service stops ---------------------------------------------------------------


def test_a_request_whose_service_stops_is_answered_503(run: Run) -> None:
    async def main() -> None:
        base = background().with_value(KEY, "service").with_cancel()
        log: list[str | None] = []

        async def app(*_: Any) -> None:
            log.append(current().value(KEY))
            base.cancel()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                log.append("interrupted")
                raise

        for _ in range(2):  # the second comes too late
            server = Server()
            await server.run(app, base=base)
            assert server.status == 503
        assert log == ["service", "interrupted"]

    run(main)


def test_one_that_nobody_has_asked_about_is_found_too(run: Run) -> None:
    async def main() -> None:
        base = background().with_cancel()
        server = Server()
        asyncio.get_running_loop().call_soon(base.cancel)
        await server.run(raw(lambda *_: asyncio.sleep(LONG)), 60.0, base=base)
        assert server.status == 503

    run(main)


def test_a_base_that_is_out_of_time_is_a_504(run: Run) -> None:
    async def main() -> None:
        server = Server()
        base = background().with_timeout(0.0)
        await server.run(raw(lambda *_: asyncio.sleep(LONG)), base=base)
        assert server.status == 504

    run(main)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_websocket_whose_service_stops_is_closed(run: Run, accepted: bool) -> None:
    async def main() -> None:
        base = background().with_cancel()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            base.cancel()
            await asyncio.sleep(LONG)

        async def app(_: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.accept"})
            await receive()

        if not accepted:
            base.cancel()
        served: Any = ContextMiddleware(app, base=base)
        await served({"type": "websocket", "path": "/live"}, receive, send)
        assert sent[-1] == {"type": "websocket.close", "code": 1001}
        assert len(sent) == 1 + accepted

    run(main)


def test_a_websocket_that_the_client_leaves_ends_its_context_alone(run: Run) -> None:
    """The handler goes on: it may have to clean up."""

    async def main() -> None:
        async def receive() -> Any:
            return {"type": "websocket.disconnect", "code": 1000}

        async def app(_: Any, receive: Any, send: Any) -> None:
            ctx = current()
            await receive()
            assert isinstance(ctx.cause(), ClientDisconnected)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not current().done()
            assert current().label == "WS /live"
            log.append("cleaned up")

        log: list[str] = []
        served: Any = ContextMiddleware(app)
        await served({"type": "websocket", "path": "/live"}, receive, receive)
        assert log == ["cleaned up"]

    run(main)


def test_an_error_of_a_websocket_passes(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            raise Canceled

        served: Any = ContextMiddleware(app)
        with pytest.raises(Canceled):
            await served({"type": "websocket", "path": "/"}, app, app)

    run(main)


# -- frameworks that run the handler in a task of its own -------------------------------


class Listening:
    """Runs the handler in one task while another listens, as Quart and Django 5 do."""

    def __init__(self, handler: Any, *, obeys: bool = True) -> None:
        self.handler = handler
        self.obeys = obeys

    async def listen(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self.obeys:
            await asyncio.sleep(LONG)

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        tasks = [
            asyncio.create_task(self.handler(receive, send)),
            asyncio.create_task(self.listen(receive)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self.obeys:
                raise AssertionError(
                    "interrupted: the handler is left behind"
                ) from None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("end", ["deadline", "stop"])
def test_out_of_time_they_end_their_handler_themselves(
    run: Run, end: str, asks: bool
) -> None:
    async def main() -> None:
        base = background().with_cancel()
        log: list[str] = []

        async def handler(*_: Any) -> None:
            if asks:
                current()
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                log.append("canceled once")
                await asyncio.sleep(0.01)  # its cleanup is not disturbed
                log.append("cleaned up")
                raise

        server = Server()
        server.body(b"")
        if end == "stop":
            asyncio.get_running_loop().call_later(0.05, base.cancel)
        timeout = 60.0 if end == "stop" else 0.05
        await server.run(Listening(handler), timeout, base=base)
        base.cancel()
        assert log == ["canceled once", "cleaned up"]
        assert server.status == (503 if end == "stop" else 504)

    run(main)


def test_one_that_does_not_is_interrupted_after_all(run: Run) -> None:
    async def main() -> None:
        server = Server()
        handler = raw(lambda *_: asyncio.sleep(LONG))
        app = Listening(lambda *a: handler(None, *a), obeys=False)
        await server.run(app, 0.02)
        assert server.status == 504

    run(main)


def test_what_it_sends_to_complete_a_response_that_was_cut_off_is_dropped(
    run: Run,
) -> None:
    async def main() -> None:
        async def handler(_: Any, send: Any) -> None:
            await send(OK)
            try:
                await asyncio.sleep(LONG)
            finally:
                await send(LAST)

        server = Server()
        await server.run(Listening(handler), 0.05)
        [start] = server.sent
        assert start["type"] == OK["type"]

    run(main)


def test_behind_a_base_http_middleware_a_stream_that_is_cut_off_is_not_complete(
    run: Run,
) -> None:
    async def main() -> None:
        async def pieces() -> Any:
            yield "a piece"
            await asyncio.sleep(LONG)

        async def streams(_: Any) -> Any:
            return StreamingResponse(pieces())

        async def through(request: Any, call: Any) -> Any:
            return await call(request)

        middleware = [Middleware(BaseHTTPMiddleware, dispatch=through)]
        server = Server()
        server.body(b"")
        app = Starlette(routes=[Route("/", streams)], middleware=middleware)
        await server.run(app, 0.06)
        assert server.status == 200
        assert all(message.get("more_body") for message in server.sent[1:])

    run(main)


def test_their_response_releases_the_request(run: Run) -> None:
    async def main() -> None:
        log: list[object] = []

        async def handler(_: Any, send: Any) -> None:
            before = current()
            assert before.deadline is not None
            await send(OK)
            await send(LAST)
            await asyncio.sleep(0.1)
            log.append((before.done(), current().done(), current().label))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.create_task(handler(receive, send))

        await Server().run(app, 0.05)
        assert log == [(True, False, "GET /")]

    run(main)


# -- the context is made late ----------------------------------------------------------


def test_a_request_that_asks_for_nothing_has_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: Any) -> Any:
        raise AssertionError("made")

    monkeypatch.setattr(_request, "begin", begin)

    async def main() -> None:
        async def app(_: Any, send: Any) -> None:
            await send(OK)
            await send(LAST)
            await asyncio.sleep(0.05)  # what goes on is not looked at either

        await Server().run(raw(app), 60.0)

    run(main)


def test_its_deadline_counts_from_the_arrival(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            began = current().deadline
            await asyncio.sleep(0.05)
            assert current().deadline == began
            asked.append(began)

        async def asks_late(*_: Any) -> None:
            await asyncio.sleep(0.01)
            asked.append(current().remaining())

        asked: list[Any] = []
        await Server().run(app, 60.0)
        await Server().run(asks_late, 60.0)
        assert 50.0 < asked[1] < 59.995

    run(main)


def test_a_thread_may_be_the_first_to_ask(run: Run) -> None:
    async def main() -> None:
        def work() -> bool:
            return current().wait(LONG) and current().label == "GET /"

        async def app(*_: Any) -> None:
            assert await asyncio.to_thread(work)
            log.append("told")

        log: list[str] = []
        server = Server()
        await server.run(app, 0.1)
        assert log == []  # interrupted while it waits for the thread
        assert server.status == 504

    run(main)


def test_many_threads_get_the_same(run: Run) -> None:
    async def main() -> None:
        barrier = threading.Barrier(4)

        def ask() -> Context:
            barrier.wait(LONG)
            return current()

        async def app(*_: Any) -> None:
            got = await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
            assert {id(ctx) for ctx in got} == {id(current())}

        for _ in range(20):
            await Server().run(app, 60.0)

    run(main)


@pytest.mark.parametrize("answered", [True, False])
def test_who_asks_after_the_request(run: Run, answered: bool) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def later() -> Context:
            await go_on.wait()
            return current()

        async def app(_: Any, send: Any) -> None:
            tasks.append(asyncio.create_task(later()))
            if answered:
                await send(OK)
                await send(LAST)

        tasks: list[asyncio.Task[Context]] = []
        await Server(path="/asked").run(raw(app), 60.0)
        go_on.set()
        ctx = await tasks[0]
        assert not ctx.done()
        assert ctx.deadline is None
        assert ctx.label == ("GET /asked" if answered else "")

    run(main)


def test_the_client_that_leaves_ends_one_that_nobody_has_asked_for(run: Run) -> None:
    async def main() -> None:
        async def app(receive: Any, _: Any) -> None:
            await receive()
            await asyncio.sleep(0)
            await asyncio.sleep(LONG)

        server = Server()
        server.inbox.put_nowait(DISCONNECT)
        await server.run(raw(app))
        assert server.sent == []

    run(main)


def test_blocks_of_the_handler_have_their_own_end(run: Run) -> None:
    async def main() -> None:
        async def app(_: Any, send: Any) -> None:
            with pytest.raises(DeadlineExceeded):
                with current().with_timeout(0.01):
                    await asyncio.sleep(LONG)
            with current().with_timeout(0.03) as inner:
                await send(OK)
                await send(LAST)  # a background task of somebody who has a block
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.sleep(LONG)
                assert inner.done()
                log.append("own end")
                await asyncio.sleep(0)

        log: list[str] = []
        await Server().run(raw(app), 60.0)
        assert log == ["own end"]

    run(main)


def test_one_middleware_in_another(run: Run) -> None:
    async def main() -> None:
        async def app(_: Any, receive: Any, send: Any) -> None:
            seen.append(current())
            await asyncio.sleep(LONG)

        seen: list[Context] = []
        server = Server()
        await server.run(ContextMiddleware(app, timeout=0.05), 60.0)
        assert server.status == 504
        server = Server()
        await server.run(ContextMiddleware(app, timeout=60.0), 0.05)
        assert server.status == 504

    run(main)


def test_nothing_of_a_request_is_kept(run: Run) -> None:
    async def main() -> None:
        class Mark:
            pass

        def served(asks: bool) -> Any:
            async def app(_: Any, send: Any) -> None:
                if asks:
                    current()
                await send(OK)
                await send(LAST)

            return raw(app)

        gc.collect()
        gc.disable()
        try:
            for asks in (False, True):
                server, mark = Server(), Mark()
                server.scope["mark"] = mark
                dead = weakref.ref(mark)
                await asyncio.create_task(server.run(served(asks), 60.0))
                del server, mark
                await asyncio.sleep(0)
                assert dead() is None
        finally:
            gc.enable()

    run(main)


def test_a_background_task_gets_the_values_of_the_request(run: Run) -> None:
    async def main() -> None:
        log: list[object] = []

        async def later() -> None:
            log.append((current().label, current().deadline))
            with current().with_timeout(60.0) as ctx:
                await asyncio.sleep(0.1)
                log.append(ctx.done())

        async def handler(_: Any) -> Any:
            return PlainTextResponse("ok", background=BackgroundTask(later))

        server = Server()
        await server.run(Starlette(routes=[Route("/", handler)]), 0.08)
        assert log == [("GET /", None), False]

    run(main)


@pytest.mark.parametrize("base", ["service", object(), 3])
def test_a_base_that_is_no_context_is_refused(base: Any) -> None:
    with pytest.raises(TypeError, match="base is a Context"):
        ContextMiddleware(raw(lambda *_: eventually(lambda: True)), base=base)
