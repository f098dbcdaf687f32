"""Counts and times of calls, named and labelled as go-grpc-prometheus does.

Beside Go's there are two of the deadlines: how much was left when a handler began, and
how many calls were over before one did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import final
from weakref import WeakKeyDictionary

try:
    from prometheus_client import Counter, Histogram
    from prometheus_client.core import CounterMetricFamily
    from prometheus_client.registry import Collector, CollectorRegistry
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "the metrics of tether.ext.grpc need prometheus-client: "
        'pip install "tether[grpc]" prometheus-client',
        name="prometheus_client",
    ) from None

from ._library import grpc
from ._status import in_go

METHOD = ("grpc_type", "grpc_service", "grpc_method")


@final
class Metrics:
    """The metrics of one side, "server" or "client", in one registry."""

    def __init__(self, registry: CollectorRegistry, side: str) -> None:
        def counter(name: str, help_: str, *more: str) -> Counter:
            labels = (*METHOD, *more)
            return Counter(f"grpc_{side}_{name}", help_, labels, registry=registry)

        def histogram(name: str, help_: str) -> Histogram:
            return Histogram(f"grpc_{side}_{name}", help_, METHOD, registry=registry)

        self._started = counter("started", "Calls that were begun.")
        self._handled = counter("handled", "Calls that are complete.", "grpc_code")
        self._seconds = histogram("handling_seconds", "How long calls took.")
        self._received = counter("msg_received", "Messages received.")
        self._sent = counter("msg_sent", "Messages sent.")
        self._left = histogram("deadline_left_seconds", "What was left at the start.")

    def started(self, method: tuple[str, str, str], left: float | None) -> None:
        """A call begins; `left` is the time that its caller has given, in seconds."""
        self._started.labels(*method).inc()
        if left is not None:
            self._left.labels(*method).observe(left)

    def handled(
        self, method: tuple[str, str, str], code: grpc.StatusCode, seconds: float
    ) -> None:
        """A call is complete."""
        self._handled.labels(*method, in_go(code)).inc()
        self._seconds.labels(*method).observe(seconds)

    def received(self, method: tuple[str, str, str]) -> None:
        """A message has come."""
        self._received.labels(*method).inc()

    def sent(self, method: tuple[str, str, str]) -> None:
        """A message was handed over to be sent."""
        self._sent.labels(*method).inc()


@final
class Expired(Collector):
    """The calls that were over before a handler began, asked for at each scrape.

    A finalizer counts them, which must not take the lock of a counter.
    """

    def __init__(self, counts: Callable[[], dict[tuple[str, str, str], int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What prometheus_client calls."""
        family = CounterMetricFamily(
            "grpc_server_expired",
            "Calls that were over before a handler began.",
            labels=METHOD,
        )
        for method, count in self._counts().items():
            family.add_metric(method, count)
        yield family


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
