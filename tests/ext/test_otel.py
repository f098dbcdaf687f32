"""tether.ext.otel: what a span says, and where the trace goes with the work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, get_current_span

from tether import (
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Group,
    WaitGroup,
    background,
    to_thread,
)
from tether.ext.httpx import Client
from tether.ext.otel import note, span
from tether.testing import VirtualClock


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = self.provider.get_tracer("tests")

    def only(self) -> ReadableSpan:
        [one] = self.exporter.get_finished_spans()
        return one


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.provider.shutdown()


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
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(204)

    with Client(transport=httpx.MockTransport(answer)) as http:
        with (
            background().with_timeout(2.0) as ctx,
            span(ctx, "request", tracer=traced.tracer),
        ):
            mine = trace_id()
            http.get(ctx, "http://shop/")
            http.get(ctx, "http://shop/", headers={"traceparent": "theirs"})
    assert f"-{mine:032x}-" in asked[0].headers["traceparent"]
    assert asked[1].headers["traceparent"] == "theirs"


def test_a_missing_library_is_named_with_the_cure() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import tether.ext.otel"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "tether[otel]"' in done.stderr
