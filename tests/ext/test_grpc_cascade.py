"""Calls of gRPC that begin with less time than they take as a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from tests.ext.grpc_serving import (
    KINDS,
    PATIENCE,
    Kept,
    Requests,
    Served,
    four_kinds,
    samples,
    serving,
)
from tests.loops import KINDS as LOOPS
from tether import Context, ContextError, _clock, background
from tether.ext.grpc import call, call_async, follow, stream, stream_async
from tether.ext.prometheus import _hops, instrument

ONE = ["unary_unary", "stream_unary"]
TAKES = 50.0  # seconds, of a clock that nobody has to wait for
PLENTY = 100 * TAKES  # more than all calls of a test together


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    undo = instrument(registry, roots=1000)
    yield registry
    undo()


@pytest.fixture
def slow() -> Iterator[Served]:
    """A server whose answers take their time."""
    now = _clock.now
    ahead = [0.0]

    def unary(_: object, sc: Any) -> bytes:
        ahead.append(ahead.pop() + TAKES)
        if dict(sc.invocation_metadata()).get("refuse"):
            sc.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b"whole"

    def stream(requests: Any, sc: Any) -> Iterator[bytes]:
        yield unary(requests, sc)
        for request in requests:
            if request == b"go on":
                ahead.append(ahead.pop() + PLENTY)
                yield b"more"

    with serving("threads", four_kinds(unary, stream)) as served:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_clock, "now", lambda: now() + ahead[0])
            yield served


# How a call is made.


def with_a_context(ctx: Context, served: Served, kind: str) -> None:
    method = served.method(kind, kind)
    if kind in ONE:
        call(ctx, method, argument(kind))
    else:
        next(stream(ctx, method, argument(kind)))


def followed(ctx: Context, served: Served, kind: str) -> None:
    method: Any = getattr(follow(served.channel), kind)(f"/shop.Stock/{kind}")
    with ctx.with_cancel():
        if kind in ONE:
            method(argument(kind))
        else:
            next(method(argument(kind)))


def in_a_task(ctx: Context, served: Served, kind: str) -> None:
    async def main() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            method: Any = getattr(channel, kind)(f"/shop.Stock/{kind}")
            with suppress(ContextError):
                if kind in ONE:
                    await call_async(ctx, method, argument(kind))
                else:
                    async with aclosing(
                        stream_async(ctx, method, argument(kind))
                    ) as responses:
                        await anext(responses)

    Kept(LOOPS[0])(main)


def argument(kind: str) -> Any:
    return iter([b"one"]) if kind.startswith("stream") else b"one"


def until_known(registry: CollectorRegistry, hop: str) -> float:
    """What is usual there: gRPC tells of the end of a call after the response."""
    with background().with_timeout(PATIENCE) as patience:
        while ("tether_call_usual_seconds", hop) not in samples(registry):
            patience.sleep(0.002)
    return samples(registry)["tether_call_usual_seconds", hop]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ask", [with_a_context, followed, in_a_task])
def test_one_is_counted_and_told(
    ask: Callable[[Context, Served, str], None],
    kind: str,
    slow: Served,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hop = f"/shop.Stock/{kind}"  # as the server calls this work
    for _ in range(_hops.LEAST):
        ask(background(), slow, kind)
    assert until_known(registry, hop) >= TAKES
    cascades = "tether_deadline_cascade_total", hop
    with background().with_timeout(1e9, label="GET /page") as ctx:
        ask(ctx, slow, kind)
    assert cascades not in samples(registry)
    for _ in range(3):
        with suppress(ContextError):
            with background().with_timeout(TAKES / 2, label="GET /page") as ctx:
                ask(ctx, slow, kind)
    assert samples(registry)[cascades] == 3
    lines = [one.getMessage() for one in caplog.records if one.name == "tether"]
    assert f"takes: {hop} has " in lines[0]
    assert "of GET /page; 1 such calls" in lines[0]


def test_a_refusal_is_an_answer_and_silence_is_none(
    slow: Served, registry: CollectorRegistry
) -> None:
    for _ in range(_hops.LEAST):
        with pytest.raises(grpc.RpcError):
            call(
                background(),
                slow.method("unary_unary"),
                b"",
                metadata=[("refuse", "1")],
            )
    assert until_known(registry, "/shop.Stock/unary_unary") >= TAKES
    with grpc.insecure_channel("127.0.0.1:1") as nobody:
        method: Any = nobody.unary_unary("/shop.Nobody/Get")
        for _ in range(2 * _hops.LEAST):
            with pytest.raises(grpc.RpcError):
                call(background(), method, b"")
    assert ("tether_call_usual_seconds", "/shop.Nobody/Get") not in samples(registry)


def test_a_stream_is_answered_by_its_first_response(
    slow: Served, registry: CollectorRegistry
) -> None:
    method = slow.method("stream_stream", "stream_stream")
    for _ in range(_hops.LEAST):
        requests = Requests()
        responses = stream(background(), method, requests)
        assert next(responses) == b"whole"
        requests.put(b"go on")
        requests.close()
        assert [*responses] == [b"more"]
    assert TAKES <= until_known(registry, "/shop.Stock/stream_stream") < PLENTY
