"""Counts and times of calls, named and labelled as go-grpc-prometheus does.

Beside Go's there are some of the deadlines: how much was left when a call began, and of
a server how many calls wait for a handler and how many never got one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator
from typing import final
from weakref import WeakKeyDictionary

try:
    from prometheus_client import Counter, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector, CollectorRegistry
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "the metrics of tether.ext.grpc need prometheus-client: "
        'pip install "tether[grpc,prometheus]"',
        name="prometheus_client",
    ) from None

from ._arrivals import Arrivals
from ._counting import Method
from ._library import grpc
from ._status import in_go

METHOD = ("grpc_type", "grpc_service", "grpc_method")
_BUCKETS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@final
class Metrics:
    """The metrics of one side, "server" or "client", in one registry."""

    def __init__(self, registry: CollectorRegistry, side: str) -> None:
        def counter(name: str, text: str, *more: str) -> Counter:
            labels = (*METHOD, *more)
            return Counter(f"grpc_{side}_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str) -> Histogram:
            full = f"grpc_{side}_{name}"
            return Histogram(full, text, METHOD, registry=registry, buckets=_BUCKETS)

        self.started = counter("started", "Calls that were begun")
        self.completed = counter("handled", "Calls that are complete", "grpc_code")
        self.seconds = histogram("handling_seconds", "How long calls took")
        self.msg_received = counter("msg_received", "Messages received")
        self.msg_sent = counter("msg_sent", "Messages sent")
        self.left = histogram("deadline_left_seconds", "What was left at the start")
        if side == "server":
            self.arrivals: list[Arrivals] = []
            registry.register(_Waiting(self.arrivals))

    def begin(self, method: Method, left: float | None) -> OneCall:
        """A call begins; `left` is the time that its caller has given, in seconds."""
        self.started.labels(*method).inc()
        if left is not None:
            self.left.labels(*method).observe(left)
        return OneCall(self, method)


@final
class OneCall:
    """The `Counts` of a call."""

    def __init__(self, metrics: Metrics, method: Method) -> None:
        self._metrics = metrics
        self._method = method
        self._since = time.perf_counter()

    def received(self) -> None:
        """A message has come."""
        self._metrics.msg_received.labels(*self._method).inc()

    def sent(self) -> None:
        """A message was handed over to be sent."""
        self._metrics.msg_sent.labels(*self._method).inc()

    def handled(self, code: grpc.StatusCode) -> None:
        """It is complete."""
        seconds = time.perf_counter() - self._since
        self._metrics.seconds.labels(*self._method).observe(seconds)
        self._metrics.completed.labels(*self._method, in_go(code)).inc()  # the last


@final
class _Waiting(Collector):
    """The calls that no handler has begun with, asked for at each scrape."""

    def __init__(self, arrivals: list[Arrivals]) -> None:
        self._arrivals = arrivals

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client calls."""
        waiting = GaugeMetricFamily(
            "grpc_server_waiting", "Calls that wait for a handler", labels=METHOD
        )
        dropped = CounterMetricFamily(
            "grpc_server_dropped", "Calls that never got a handler", labels=METHOD
        )
        now: Tally[Method] = Tally()
        ever: Tally[Method] = Tally()
        for arrivals in self._arrivals:
            now += arrivals.waiting()
            ever += arrivals.dropped()
        for method in sorted({*now, *ever}):
            waiting.add_metric(method, now[method])
            dropped.add_metric(method, ever[method])
        yield from (waiting, dropped)


# One set for each registry and side, however many servers and channels share it.
_made: WeakKeyDictionary[CollectorRegistry, dict[str, Metrics]] = WeakKeyDictionary()
_making = threading.Lock()


def metrics_of(registry: CollectorRegistry, side: str) -> Metrics:
    """The metrics of a side in a registry, made if need be."""
    if not isinstance(registry, CollectorRegistry):
        raise TypeError(f"metrics is a CollectorRegistry, not {registry!r}")
    with _making:
        sides = _made.setdefault(registry, {})
        if side not in sides:
            sides[side] = Metrics(registry, side)
        return sides[side]
