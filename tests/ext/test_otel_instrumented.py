"""Beside instrumentations of OpenTelemetry: nothing is doubled, and traces stay whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanKind

from tests.ext.serving import get, serve
from tests.ext.tracing import Traced
from tether import background, current
from tether.ext.asgi import ASGIApp, ContextMiddleware
from tether.ext.httpx import AsyncClient
from tether.ext.otel import ASGITrace, note, span

CALLER = f"traceparent: 00-{'ab' * 16}-{'cd' * 8}-01"
TRACE = int("ab" * 16, 16)


@pytest.fixture
def instrumented(traced: Traced) -> Iterator[Traced]:
    """With httpx instrumented."""
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)
    yield traced
    instrumentor.uninstrument()


def around(traced: Traced, app: Any) -> ASGIApp:
    """Both, as somebody has them who has read the one page and the other."""
    ours = ASGITrace(ContextMiddleware(app, timeout=20.0))
    return OpenTelemetryMiddleware(
        ours, tracer_provider=traced.provider, exclude_spans=["receive", "send"]
    )


async def answer(send: Any, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_a_request_has_one_span_of_the_server(
    traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        with note(current()), span(current(), "work", tracer=traced.tracer):
            await answer(send, b"ok")

    with serve(around(traced, app)) as served:
        assert served.answer(get("/cart", CALLER)) == (200, b"ok")
    # The span of the server ends with the response, before the block of `note` does.
    assert not [one for one in caplog.records if one.name.startswith("opentelemetry")]
    servers = [one for one in traced.spans() if one.kind is SpanKind.SERVER]
    [server] = servers
    assert server.attributes is not None
    assert server.attributes["tether.root"] == "GET /cart"
    assert traced.parents(TRACE) == {server.name: "the caller", "work": server.name}


def test_a_call_has_one_span_of_the_client_and_the_upstream_is_below_it(
    instrumented: Traced,
) -> None:
    async def upstream(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        with span(current(), "upstream", tracer=instrumented.tracer):
            await answer(send, b"ok")

    async def main(url: str) -> httpx.Response:
        with background().with_timeout(20.0) as ctx:
            with span(ctx, "gateway", tracer=instrumented.tracer):
                async with AsyncClient() as http:
                    return await http.get(ctx, url)

    with serve(ASGITrace(ContextMiddleware(upstream, timeout=20.0))) as served:
        asyncio.run(main(f"http://127.0.0.1:{served.port}/stock"))
    clients = [one for one in instrumented.spans() if one.kind is SpanKind.CLIENT]
    [client] = clients
    assert client.context is not None
    assert instrumented.parents(client.context.trace_id) == {
        client.name: "gateway",
        "upstream": client.name,
    }
