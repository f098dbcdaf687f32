"""What a caller says of its time, its id and its values, and what of it is believed."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from tests.core.support import LONG
from tests.ext.serving import get, serve
from tests.ext.test_asgi_messages import OK, Server, raw
from tests.loops import Run
from tether import Context, DeadlineExceeded, Key, background, current
from tether.ext.asgi import ContextMiddleware
from tether.ext.logging import ContextFilter
from tether.wire import REQUEST_ID, CallerTimeout

TENANT: Key[str] = Key("asgi-tenant", wire="x-asgi-tenant")
LAST = {"type": "http.response.body", "body": b"done"}
MADE = re.compile(rb"[0-9a-f]{16}-[0-9]+")


def told(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(), value.encode()


class App:
    """Answers at once; what its context was, if it asked."""

    def __init__(self, *, asks: bool = True, headers: Any = ()) -> None:
        self.asks = asks
        self.headers = headers
        self.calls = 0
        self.seen: Context | None = None
        self.left = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        if self.asks:
            self.seen = current()
            self.left = self.seen.remaining()
        await send({**OK, "headers": self.headers})
        await send(LAST)

    @property
    def ctx(self) -> Context:
        assert self.seen is not None
        return self.seen


# -- the time ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "own", "most", "left"),
    [
        (("x-request-timeout-ms", "5000"), None, None, 5),
        (("x-request-timeout-ms", "5000"), 60.0, None, 5),
        (("x-request-timeout-ms", "5000"), 2.0, None, 2),
        (("x-request-timeout-ms", "5000"), None, 3.0, 3),
        (("x-request-timeout-ms", "2000"), None, 3.0, 2),
        (("x-request-timeout-ms", "5000"), lambda _: 60.0, None, 5),
        (("x-request-timeout-ms", "5000"), lambda _: 2.0, None, 2),
        (("x-request-timeout-ms", "5000"), lambda _: None, 3.0, 3),
        (("grpc-timeout", "4S"), 60.0, None, 4),
        (("x-envoy-expected-rq-timeout-ms", "7000"), 60.0, None, 7),
        (("x-request-timeout-ms", "soon"), 60.0, None, 60),
        (("x-request-timeout-ms", "-1"), 60.0, None, 60),
        (("accept", "*/*"), 60.0, 3.0, 60),  # our own time is not the caller's
    ],
)
def test_a_caller_can_only_shorten(
    run: Run, header: tuple[str, str], own: Any, most: float | None, left: int
) -> None:
    async def main() -> None:
        app = App()
        server = Server(told(*header))
        await server.run(app, own, max_timeout=most)
        assert server.status == 200
        assert round(app.left) == left

    run(main)


def test_the_smallest_of_several_counts(run: Run) -> None:
    async def main() -> None:
        app = App()
        several = [("grpc-timeout", "9S"), ("x-request-timeout-ms", "4000")]
        await Server(*(told(*one) for one in several)).run(app)
        assert round(app.left) == 4

    run(main)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("value", ["0", "1", "4"])
def test_too_little_left_on_arrival_is_answered_504_without_work(
    run: Run, value: str, asks: bool
) -> None:
    async def main() -> None:
        app = App(asks=asks)
        server = Server(
            told("x-request-timeout-ms", value), told("x-request-id", "7d1")
        )
        await server.run(app, 60.0)
        assert (server.status, app.calls) == (504, 0)
        assert server.headers[b"x-request-id"] == b"7d1"

    run(main)


def test_what_the_caller_had_left_ends_the_request_and_is_named(run: Run) -> None:
    async def main() -> None:
        seen: list[Context] = []

        async def app(*_: Any) -> None:
            seen.append(current())
            await asyncio.sleep(LONG)

        server = Server(told("x-request-timeout-ms", "20"))
        await server.run(raw(app), 60.0)
        assert server.status == 504
        [ctx] = seen
        assert isinstance(ctx.cause(), CallerTimeout)
        error = ctx.err()
        assert isinstance(error, DeadlineExceeded)
        assert "CallerTimeout: the caller had 0.02 s left [GET /]" in error.detail

    run(main)


def test_the_services_own_time_does_not_blame_the_caller(run: Run) -> None:
    async def main() -> None:
        seen: list[Context] = []

        async def app(*_: Any) -> None:
            seen.append(current())
            await asyncio.sleep(LONG)

        server = Server(told("x-request-timeout-ms", "60000"))
        await server.run(raw(app), 0.02)
        assert server.status == 504
        assert isinstance(seen[0].cause(), DeadlineExceeded)

    run(main)


def test_only_the_accepted_headers_are_read(run: Run) -> None:
    async def main() -> None:
        app = App()
        headers = told("x-timeout-ms", "5000"), told("x-request-timeout-ms", "1000")
        await Server(*headers).run(app, 60.0, accepted=("X-Timeout-Ms",))
        assert round(app.left) == 5

    run(main)


def test_a_base_that_ends_sooner_goes_before_the_caller(run: Run) -> None:
    async def main() -> None:
        app = App()
        with background().with_timeout(3.0) as base:
            server = Server(told("x-request-timeout-ms", "5000"))
            await server.run(app, base=base)
        assert 2 < app.left <= 3

    run(main)


# -- the id --------------------------------------------------------------------------


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("timeout", [None, 60.0, 0.05, lambda _: 60.0])
def test_the_callers_id_is_taken_kept_and_answered(
    run: Run, asks: bool, timeout: Any
) -> None:
    async def main() -> None:
        app = App(asks=asks)
        server = Server(told("x-request-id", "7d1"))
        await server.run(app, timeout)
        assert server.headers == {b"x-request-id": b"7d1"}
        if asks:
            assert app.ctx.value(REQUEST_ID) == "7d1"

    run(main)


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("sent", [None, "no good", "x" * 129])
def test_without_a_sane_one_it_is_made(run: Run, asks: bool, sent: str | None) -> None:
    async def main() -> None:
        app = App(asks=asks)
        server = Server(*([] if sent is None else [told("x-request-id", sent)]))
        await server.run(app)
        ident = server.headers[b"x-request-id"]
        assert MADE.fullmatch(ident)
        if asks:
            assert app.ctx.value(REQUEST_ID) == ident.decode()
        again = Server()
        await again.run(app)
        assert again.headers[b"x-request-id"] != ident

    run(main)


def test_an_id_that_the_application_answers_with_is_left_alone(run: Run) -> None:
    async def main() -> None:
        server = Server(told("x-request-id", "7d1"))
        await server.run(App(headers=[told("x-request-id", "its own")]))
        assert server.sent[0]["headers"] == [told("x-request-id", "its own")]

    run(main)


def test_a_message_that_is_sent_again_gets_the_id_of_its_own_request(run: Run) -> None:
    async def main() -> None:
        start = {"type": "http.response.start", "status": 200}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start)
            await send(LAST)

        for ident in ("a", "b"):
            server = Server(told("x-request-id", ident))
            await server.run(app)
            assert server.headers == {b"x-request-id": ident.encode()}
        assert start == {"type": "http.response.start", "status": 200}

    run(main)


def test_answers_of_the_middleware_carry_it(run: Run) -> None:
    async def main() -> None:
        async def app(*_: Any) -> None:
            await asyncio.sleep(LONG)

        late = Server(told("x-request-id", "7d1"))
        await late.run(raw(app), 0.02)
        assert (late.status, late.headers[b"x-request-id"]) == (504, b"7d1")
        base = background().with_cancel()
        base.cancel()
        stopped = Server(told("x-request-id", "7d1"))
        await stopped.run(raw(app), base=base)
        assert (stopped.status, stopped.headers[b"x-request-id"]) == (503, b"7d1")

    run(main)


def test_a_middleware_inside_another_keeps_the_id(run: Run) -> None:
    async def main() -> None:
        app = App()
        server = Server()
        await server.run(ContextMiddleware(app, timeout=1.0))
        ident = server.headers[b"x-request-id"].decode()
        assert app.ctx.value(REQUEST_ID) == ident

    run(main)


def test_log_records_have_the_id_that_is_answered() -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    handler.addFilter(ContextFilter())
    logger = logging.getLogger("tests.asgi_wire")
    logger.addHandler(handler)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            logger.warning("at work")
            await send(OK)
            await send(LAST)

    try:
        with serve(ContextMiddleware(app, timeout=30.0)) as served:
            with served.ask(get("/")) as connection:
                answer = connection.recv(65536)
    finally:
        logger.removeHandler(handler)
    [record] = records
    seen: Any = record
    assert b"\r\nx-request-id: " + seen.request_id.encode() + b"\r\n" in answer
    assert 29.0 < seen.remaining <= 30.0


# -- the values ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "value"),
    [
        (False, None),
        (True, "acme"),
        (lambda connection: connection["path"] == "/inside", "acme"),
        (lambda connection: connection["path"] == "/outside", None),
        (lambda _: "a word is not True", None),
    ],
    ids=["nobody", "everybody", "this one", "another one", "unclear"],
)
def test_values_count_from_trusted_callers(
    run: Run, trust: Any, value: str | None
) -> None:
    async def main() -> None:
        app = App()
        server = Server(told("x-asgi-tenant", "acme"), path="/inside")
        await server.run(app, 60.0, trust=trust)
        assert app.ctx.value(TENANT) == value

    run(main)


def test_a_websocket_has_them_too_but_no_time(run: Run) -> None:
    async def main() -> None:
        app = App()
        server = Server(
            told("x-asgi-tenant", "acme"),
            told("x-request-id", "7d1"),
            told("x-request-timeout-ms", "1000"),
        )
        server.scope["type"] = "websocket"
        app.headers = []

        async def talk(scope: Any, receive: Any, send: Any) -> None:
            app.seen = current()
            app.left = app.seen.remaining()
            await send({"type": "websocket.accept"})

        await server.run(talk, 60.0, trust=True)
        assert (app.ctx.value(TENANT), app.ctx.value(REQUEST_ID)) == ("acme", "7d1")
        assert app.left == float("inf")
        assert server.headers == {b"x-request-id": b"7d1"}

    run(main)


# -- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"max_timeout": 0}, ValueError, "max_timeout is above 0"),
        ({"max_timeout": float("nan")}, ValueError, "max_timeout"),
        ({"max_timeout": "1"}, TypeError, "max_timeout"),
        ({"trust": "yes"}, TypeError, "trust is True, False or a function"),
        ({"accepted": "x-timeout-ms"}, TypeError, "a tuple of names"),
    ],
)
def test_a_wrong_option_is_an_error_at_the_start(
    more: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ContextMiddleware(App(), **more)
