"""ContextMiddleware message by message: what is read, who is told, what is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.ext.serving import get, serve, until
from tests.loops import Run
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Scope,
    background,
    current,
)
from tether.ext.asgi import ContextMiddleware

Message = dict[str, Any]
OK = {"type": "http.response.start", "status": 200, "headers": []}
DISCONNECT = {"type": "http.disconnect"}


class Server:
    """What a server does for one request, as far as the test tells it to."""

    def __init__(self, *headers: tuple[bytes, bytes], path: str = "/") -> None:
        self.scope: Message = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": list(headers),
            "asgi": {"spec_version": "2.3"},
            "query_string": b"",
        }
        self.inbox: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self.read = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        message = await self.inbox.get()
        self.read += 1
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def body(self, *pieces: bytes) -> None:
        for n, piece in enumerate(pieces, start=1):
            more = n < len(pieces)
            message = {"type": "http.request", "body": piece, "more_body": more}
            self.inbox.put_nowait(message)

    async def run(self, app: Any, timeout: Any = None, **more: Any) -> None:
        served: Any = ContextMiddleware(app, timeout, **more)
        await served(self.scope, self.receive, self.send)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():
            await asyncio.sleep(0.001)


def raw(fn: Callable[[Any, Any], Coroutine[Any, Any, None]]) -> Any:
    async def app(_: Any, receive: Any, send: Any) -> None:
        await fn(receive, send)

    return app


# -- reading ahead -------------------------------------------------------------------


def test_at_most_one_message_is_read_ahead(run: Run) -> None:
    async def main() -> None:
        server = Server()
        server.body(b"a", b"b", b"c")
        got = []

        async def app(receive: Any, send: Any) -> None:
            await eventually(lambda: server.read)
            await asyncio.sleep(0)
            for ahead in (1, 2, 3):
                assert server.read == ahead
                got.append((await receive())["body"])
                if ahead < 3:
                    await eventually(lambda n=ahead: server.read > n)
            await send(OK)
            await send({"type": "http.response.body"})

        await server.run(raw(app))
        assert got == [b"a", b"b", b"c"]

    run(main)


def test_nothing_is_read_while_the_client_waits_for_100_continue(run: Run) -> None:
    async def main() -> None:
        server = Server((b"Expect", b"100-Continue"))
        server.body(b"a", b"b")

        async def app(receive: Any, _: Any) -> None:
            await asyncio.sleep(0.06)
            assert server.read == 0
            assert (await receive())["body"] == b"a"
            await eventually(lambda: server.read == 2)  # answered: listened to
            server.inbox.put_nowait(DISCONNECT)
            await asyncio.sleep(60.0)

        await server.run(raw(app))

    run(main)


def test_what_the_servers_receive_raises_is_raised_in_the_application(run: Run) -> None:
    async def main() -> None:
        server = Server()
        server.inbox.put_nowait(KeyError("server"))

        async def app(receive: Any, _: Any) -> None:
            await eventually(lambda: server.read)
            await receive()

        with pytest.raises(KeyError, match="server"):
            await server.run(raw(app))

    run(main)


# -- the client leaves ---------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["at once", "listened to"])
def test_who_waits_for_the_message_gets_it_and_is_interrupted_after(
    run: Run, late: bool
) -> None:
    async def main() -> None:
        server = Server()
        log: list[object] = []

        async def app(receive: Any, _: Any) -> None:
            if late:
                server.body(b"")
                await eventually(lambda: server.read)
                await receive()
            asyncio.get_running_loop().call_later(0.005, server.inbox.put_nowait, gone)
            ctx = current()
            log.append((await receive())["type"])
            log.append(type(ctx.cause()))
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                log.append("interrupted")
                raise

        gone = dict(DISCONNECT)
        await server.run(raw(app))
        assert log == ["http.disconnect", ClientDisconnected, "interrupted"]
        assert server.sent == []

    run(main)


def test_a_framework_that_listens_ends_its_handler_itself(run: Run) -> None:
    """Quart and Django: an interruption of their wait would leave the handler behind."""

    async def main() -> None:
        server = Server()
        server.body(b"")
        log: list[str] = []
        seen: list[Context] = []

        async def handler() -> None:
            seen.append(current())
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                log.append("canceled once")
                await asyncio.sleep(0.01)  # its cleanup is not disturbed
                log.append("cleaned up")
                raise

        async def listen(receive: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def app(receive: Any, _: Any) -> None:
            tasks = [
                asyncio.create_task(handler()),
                asyncio.create_task(listen(receive)),
            ]
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

        asyncio.get_running_loop().call_later(0.05, server.inbox.put_nowait, DISCONNECT)
        await server.run(raw(app))
        assert log == ["canceled once", "cleaned up"]
        assert isinstance(seen[0].cause(), ClientDisconnected)

    run(main)


def test_the_server_saying_so_after_the_response_ends_nothing(run: Run) -> None:
    async def main() -> None:
        server = Server()
        log = []

        async def app(_: Any, send: Any) -> None:
            ctx = current()
            await send(OK)
            await send({"type": "http.response.body"})
            server.inbox.put_nowait(DISCONNECT)
            await asyncio.sleep(0.06)
            log.append(ctx.done())

        await server.run(raw(app))
        assert log == [False]

    run(main)


def test_trailers_belong_to_the_response(run: Run) -> None:
    async def main() -> None:
        server = Server()
        log: list[str] = []

        async def app(_: Any, send: Any) -> None:
            await send({**OK, "trailers": True})
            await send({"type": "http.response.body"})
            server.inbox.put_nowait(DISCONNECT)
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                log.append("interrupted")
                raise

        await server.run(raw(app))
        assert log == ["interrupted"]

    run(main)


def test_a_body_that_stops_half_way_is_no_crash() -> None:
    async def reads(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("never")

    calls: list[str] = []

    async def counted(request: Request) -> Response:
        calls.append("began")
        try:
            return await reads(request)
        finally:
            calls.append("ended")

    app = Starlette(routes=[Route("/", counted, methods=["POST"])])
    with serve(ContextMiddleware(app)) as it:
        head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf"
        connection = it.ask(head)
        until(lambda: calls == ["began"], "the handler begins")
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        until(lambda: calls == ["began", "ended"], "the handler ends")
    assert it.problems.said == []


# -- the time runs out ---------------------------------------------------------------


def test_a_deadline_that_comes_out_of_a_thread_is_a_504_too() -> None:
    def in_a_thread(_: Request) -> Response:
        current().sleep(60.0)
        return PlainTextResponse("never")

    app = Starlette(routes=[Route("/", in_a_thread)])
    with serve(ContextMiddleware(app, timeout=0.05)) as it:
        assert it.answer(get("/"))[0] == 504
    assert it.problems.said == []


def test_an_application_that_swallows_its_end_is_answered_for(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                return

        server = Server()
        await server.run(raw(app), timeout=0.01)
        assert server.status == 504

    run(main)


def test_an_answer_of_the_applications_own_is_kept(run: Run) -> None:
    async def main() -> None:
        async def app(_: Any, send: Any) -> None:
            try:
                await asyncio.sleep(60.0)
            finally:
                await send({**OK, "status": 500})
                await send({"type": "http.response.body", "body": b"mine"})

        server = Server()
        await server.run(raw(app), timeout=0.01)
        assert [m.get("status", m.get("body")) for m in server.sent] == [500, b"mine"]

    run(main)


def test_a_response_that_has_begun_is_left_incomplete(run: Run) -> None:
    async def main() -> None:
        async def app(_: Any, send: Any) -> None:
            await send(OK)
            await asyncio.sleep(60.0)

        server = Server()
        await server.run(raw(app), timeout=0.01)
        [start] = server.sent
        assert start["type"] == OK["type"]

    run(main)


def test_a_request_that_somebody_stops_is_answered_503(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            cast(Scope, current()).cancel()
            await asyncio.sleep(60.0)

        server = Server()
        await server.run(raw(app))
        assert server.status == 503

    run(main)


@pytest.mark.parametrize("error", [Canceled, DeadlineExceeded])
def test_an_end_that_is_not_the_requests_passes(run: Run, error: Any) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            raise error

        server = Server()
        with pytest.raises(error):
            await server.run(raw(app), timeout=60.0)
        assert server.sent == []

    run(main)


# -- after the response --------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_the_timeout_does_not_strike_a_background_task(
    run: Run, streamed: bool
) -> None:
    async def main() -> None:
        log: list[object] = []

        async def later() -> None:
            log.append(current().deadline)
            await asyncio.sleep(0.15)
            log.append("done")

        async def handler(_: Request) -> Response:
            task = BackgroundTask(later)
            if not streamed:
                return PlainTextResponse("ok", background=task)

            async def pieces() -> Any:
                yield "ok"

            return StreamingResponse(pieces(), background=task)

        server = Server()
        await server.run(Starlette(routes=[Route("/", handler)]), timeout=0.1)
        assert log == [None, "done"]
        assert server.status == 200

    run(main)


# -- tasks and names -----------------------------------------------------------------


def test_the_application_runs_in_the_servers_task(run: Run) -> None:
    async def main() -> None:
        mine = asyncio.current_task()

        async def app(*_: Any) -> None:
            assert asyncio.current_task() is mine

        await Server().run(raw(app))

    run(main)


def test_without_a_task_of_asyncios_it_gets_one(run: Run) -> None:
    async def main() -> None:
        seen: list[object] = []

        async def app(*_: Any) -> None:
            seen.append(asyncio.current_task())

        def step() -> None:  # a server that drives coroutines by itself
            try:
                serving.send(None)
            except StopIteration:
                seen.append("over")

        serving = Server().run(raw(app))
        loop = asyncio.get_running_loop()
        loop.call_soon(step)
        await eventually(lambda: seen)
        assert isinstance(seen[0], asyncio.Task)
        if "over" not in seen:
            await asyncio.sleep(0)
            step()
        assert seen[-1] == "over"

    run(main)


def test_a_path_cannot_forge_lines_of_the_log(run: Run) -> None:
    async def main() -> None:
        labels = []

        async def app(*_: Any) -> None:
            labels.append(current().label)

        await Server(path="/a\nERROR b").run(raw(app))
        await Server(path="/käse").run(raw(app))
        assert labels == ["GET /a\\nERROR b", "GET /käse"]

    run(main)


def test_requests_do_not_see_what_surrounds_the_server(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            assert current().deadline is None

        with background().with_timeout(60.0):
            await Server().run(raw(app))

    run(main)
