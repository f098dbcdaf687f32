"""tether.ext.otel: what a span says, and where the trace goes with the work."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from opentelemetry.trace import StatusCode, get_current_span

from tests.ext.serving import get, serve
from tests.ext.tracing import Traced
from tests.ext.upstream import upstream
from tether import (
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Group,
    WaitGroup,
    background,
    current,
    to_thread,
)
from tether.ext.asgi import Connection, ContextMiddleware
from tether.ext.httpx import AsyncClient, Client
from tether.ext.otel import ASGITrace, WSGITrace, note, span, statements
from tether.ext.sqlite import execute, fetch_one
from tether.testing import VirtualClock


def trace_id() -> int:
    return get_current_span().get_span_context().trace_id


def test_a_span_says_what_time_there_was(traced: Traced) -> None:
    with VirtualClock() as clock:
        with (
            background().with_timeout(2.0, label="GET /cart") as ctx,
            span(ctx, "cart", tracer=traced.tracer),
        ):
            clock.advance(0.5)
    one = traced.only()
    assert one.attributes is not None
    assert one.attributes["tether.root"] == "GET /cart"
    assert one.attributes["tether.budget.start"] == pytest.approx(2.0)
    assert one.attributes["tether.budget.end"] == pytest.approx(1.5)
    assert (one.events, one.status.status_code) == ((), StatusCode.UNSET)


def test_running_out_of_time_is_an_error(traced: Traced) -> None:
    with VirtualClock() as clock, pytest.raises(DeadlineExceeded):
        with (
            background().with_timeout(1.0) as ctx,
            span(ctx, "slow", tracer=traced.tracer),
        ):
            clock.advance(2.0)
            ctx.check()
    one = traced.only()
    assert [event.name for event in one.events] == ["context.done"]
    assert one.status.status_code is StatusCode.ERROR


def test_a_client_that_went_away_is_no_error(traced: Traced) -> None:
    with background().with_cancel() as ctx, span(ctx, "get", tracer=traced.tracer):
        ctx.cancel(ClientDisconnected())
    one = traced.only()
    [event] = one.events
    assert event.attributes is not None
    assert event.attributes["cause"] == str(ClientDisconnected())
    assert one.status.status_code is StatusCode.UNSET


def test_an_error_of_the_work_is_recorded_once(traced: Traced) -> None:
    with pytest.raises(KeyError), span(background(), "get", tracer=traced.tracer):
        raise KeyError("sku")
    one = traced.only()
    assert [event.name for event in one.events] == ["exception"]
    assert one.status.status_code is StatusCode.ERROR


def test_an_error_that_cannot_be_printed_is_raised_as_it_is(traced: Traced) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

        __repr__ = __str__

    with pytest.raises(Unprintable), span(background(), "get", tracer=traced.tracer):
        raise Unprintable
    one = traced.only()
    assert [event.name for event in one.events] == ["exception"]
    assert one.status.status_code is StatusCode.ERROR


def test_a_span_that_is_there_is_noted_and_not_doubled(traced: Traced) -> None:
    with traced.tracer.start_as_current_span("theirs"):
        with background().with_timeout(2.0) as ctx, note(ctx):
            pass
    one = traced.only()
    assert one.attributes is not None
    assert "tether.budget.end" in one.attributes


def test_the_trace_goes_with_the_work(traced: Traced) -> None:
    seen: dict[str, int] = {}

    def see(ctx: Context, name: str) -> None:
        seen[name] = trace_id()

    async def see_async(ctx: Context, name: str) -> None:
        seen[name] = trace_id()

    async def main() -> int:
        audits = WaitGroup()
        with background().with_cancel() as ctx:
            with span(ctx, "request", tracer=traced.tracer):
                await to_thread(ctx, see, "to_thread")
                async with Group(ctx) as group:
                    group.go(see_async, "task of a group")
                    group.go(see, "thread of a group")
                audits.go_with(ctx, see_async, "detached")
                bound = ctx.bind(lambda: see(ctx, "bound"))
                thread = threading.Thread(target=bound)
                thread.start()
                thread.join()
                with ctx.without_cancel().with_cancel() as beyond:
                    see(beyond, "without_cancel")
                mine = trace_id()
            await audits.wait_async()
        return mine

    mine = asyncio.run(main())
    assert mine != 0
    assert seen == dict.fromkeys(seen, mine)
    assert len(seen) == 6


def test_a_client_sends_the_trace_on(traced: Traced) -> None:
    with upstream() as server, Client() as http:
        with (
            background().with_timeout(20.0) as ctx,
            span(ctx, "request", tracer=traced.tracer),
        ):
            mine = trace_id()
            ours = http.get(ctx, f"{server.url}/echo").json()
            theirs = http.get(
                ctx, f"{server.url}/echo", headers={"traceparent": "theirs"}
            ).json()
    assert f"-{mine:032x}-" in ours["traceparent"]
    assert theirs["traceparent"] == "theirs"


def test_one_trace_goes_through_gateway_upstream_sql_and_audit(traced: Traced) -> None:
    audits = WaitGroup()

    def count(ctx: Context) -> object:
        with closing(sqlite3.connect(":memory:")) as db:
            row = fetch_one(ctx, db, "select 3")
        assert row is not None
        return row[0]

    def write(ctx: Context) -> None:
        with closing(sqlite3.connect(":memory:")) as db:
            execute(ctx, db, "create table audits (who)")

    async def stock(scope: Connection, receive: Any, send: Any) -> None:
        ctx = current()
        with span(ctx, "upstream", tracer=traced.tracer):
            await respond(send, str(await to_thread(ctx, count)).encode())

    async def audit(ctx: Context) -> None:
        with span(ctx, "audit", tracer=traced.tracer):
            await to_thread(ctx, write)

    async def main(url: str, send: Any) -> None:
        ctx = current()
        with span(ctx, "gateway", tracer=traced.tracer):
            async with AsyncClient() as http:
                answer = await http.get(ctx, url)
            audits.go_with(ctx, audit)
        await audits.wait_async()
        await respond(send, answer.content)

    undo = statements(tracer=traced.tracer)
    with serve(ASGITrace(ContextMiddleware(http_only(stock), 20.0))) as below:

        async def gateway(scope: Connection, receive: Any, send: Any) -> None:
            await main(f"http://127.0.0.1:{below.port}/", send)

        with serve(ASGITrace(ContextMiddleware(http_only(gateway), 20.0))) as above:
            caller = f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01"
            answer = above.answer(get("/cart", caller))
            stranger = above.answer(get("/cart"))
            problems = above.problems.said + below.problems.said
    undo()
    assert answer == stranger == (200, b"3")
    assert problems == []
    assert traced.parents(int("ab" * 16, 16)) == {
        "gateway": "the caller",
        "upstream": "gateway",
        "SELECT": "upstream",
        "audit": "gateway",
        "CREATE": "audit",
    }
    spans = traced.exporter.get_finished_spans()
    others = {one.context.trace_id for one in spans} - {int("ab" * 16, 16)}
    assert (len(spans), len(others)) == (10, 1)


def test_a_span_that_is_current_is_not_replaced_by_the_callers(traced: Traced) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(trace_id())
        await respond(send, b"")

    async def instrumented(scope: Any, receive: Any, send: Any) -> None:
        with traced.tracer.start_as_current_span("theirs"):
            await ASGITrace(app)(scope, receive, send)

    with serve(http_only(instrumented)) as served:
        served.answer(get("/", f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01"))
    assert seen == [traced.only().context.trace_id]


def test_a_streamed_wsgi_response_is_made_within_the_trace() -> None:
    seen: list[int] = []

    def pieces() -> Iterator[bytes]:
        try:
            for piece in (b"a", b"b"):
                seen.append(trace_id())
                yield piece
        finally:
            seen.append(trace_id())

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        seen.append(trace_id())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces()

    after: list[int] = []

    def server_side(environ: Any, start_response: Any) -> Iterator[bytes]:
        for piece in WSGITrace(app)(environ, start_response):
            after.append(trace_id())
            yield piece

    with make_server("127.0.0.1", 0, server_side, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        said = httpx.get(
            f"http://127.0.0.1:{server.server_port}/",
            headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"},
        )
        thread.join()
    assert said.text == "ab"
    assert seen == [int("ab" * 16, 16)] * 4
    assert after == [0, 0]


@pytest.mark.parametrize("bad", ["", "00-zz", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_header_that_is_no_trace_begins_none(bad: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, str(trace_id()).encode())

    with serve(http_only(ASGITrace(app))) as served:
        assert served.answer(get("/", f"traceparent: {bad}")) == (200, b"0")


class Quiet(WSGIRequestHandler):
    def log_request(self, *args: object) -> None:
        """Nothing to stderr."""


def http_only(app: Any) -> Any:
    """Without a lifespan, which the applications here do not know."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)

    return served


async def respond(send: Any, body: bytes) -> None:
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


def test_a_missing_library_is_named_with_the_cure() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import tether.ext.otel"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "tether[otel]"' in done.stderr
