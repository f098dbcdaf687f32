"""Being watched: one request's worth of work, with metrics and traces off and on."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns as now

from bench import observed
from bench._measure import Bar, Case, Effort, Side
from bench.scopes import HOUR
from tether import _live, _watching, background
from tether.wire import Outbound

# Given, as to switch the metrics on takes longer than to use them a hundred times.
MANY = 20_000


def scopes(n: int) -> int:
    above = background()
    start = now()
    for _ in range(n):
        with above.with_timeout(HOUR, label="GET /cart"):
            pass
    return now() - start


def requests(n: int) -> int:
    above, out = background(), Outbound()
    start = now()
    for _ in range(n):
        with above.with_timeout(HOUR, label="GET /cart") as ctx:
            out.write(ctx, {})
    return now() - start


def counted(run: Callable[[int], int]) -> Callable[[int], int]:
    """The same with the metrics on."""

    def on(n: int) -> int:
        from prometheus_client import CollectorRegistry

        from tether.ext.prometheus import instrument

        undo = instrument(CollectorRegistry())
        try:
            return run(n)
        finally:
            undo()

    return on


def traced(n: int) -> int:
    from opentelemetry.sdk.trace import TracerProvider

    from tether.ext.otel import span

    above, out = background(), Outbound()
    provider = TracerProvider(shutdown_on_exit=False)  # recorded, and sent nowhere
    tracer = provider.get_tracer("bench")
    start = now()
    for _ in range(n):
        with above.with_timeout(HOUR, label="GET /cart") as ctx:
            with span(ctx, "request", tracer=tracer):
                out.write(ctx, {})
    return now() - start


def everything(n: int) -> int:
    return counted(traced)(n)


def looks(n: int) -> int:
    """What a scope pays for metrics that are off: two looks; here five times that."""
    start = now()
    for _ in range(n):
        if _live.made is not None or _watching.dropped is not None:
            raise AssertionError("the metrics are on")
        if _live.made is not None or _watching.dropped is not None:
            raise AssertionError("the metrics are on")
        if _live.made is not None or _watching.dropped is not None:
            raise AssertionError("the metrics are on")
        if _live.made is not None or _watching.dropped is not None:
            raise AssertionError("the metrics are on")
        if _live.made is not None or _watching.dropped is not None:
            raise AssertionError("the metrics are on")
    return now() - start


def cases(effort: Effort) -> list[Case]:
    """A scope alone, and with what a request does besides."""
    alone = [
        Side("metrics off", scopes),
        Side(
            "of that for metrics at all", looks, per=5, bars=(Bar(0.01, "metrics off"),)
        ),
        Side("metrics on", counted(scopes)),
    ]
    whole = [
        Side("everything off", requests),
        Side("metrics on", counted(requests)),
        Side("a span", traced),
        Side("metrics on and a span", everything),
    ]
    return [
        Case(
            "a scope, made, entered and left in a thread", alone[0].name, alone, n=MANY
        ),
        Case("a scope, and the headers of one call", whole[0].name, whole, n=MANY),
        observed.case(effort),
    ]
