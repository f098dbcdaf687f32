"""What the interceptors for threads and for tasks have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import finalize

from tether import Context, Scope, background
from tether._checks import seconds_
from tether.wire import TIMEOUT, Arrived, Inbound

from ._arrivals import Arrival, Arrivals
from ._counting import method_of
from ._library import grpc
from ._status import ServerStopped

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ._metrics import Metrics

Trust: TypeAlias = bool | Callable[[Any], bool]

# gRPC's own, which it rounds up by as much as 1 %, and what a caller of ours says.
ACCEPTED = "grpc-timeout", TIMEOUT

# How long after the contexts have ended the server gives up what is left of the calls.
AFTERWARDS = 0.25


class Interceptor:
    """The settings of a server, and the context of each of its calls.

    `timeout` is the time in seconds that a call may take since it came; a caller's
    deadline can only shorten it, and is at most `max_timeout` where there is none. A
    call with less than 5 ms is answered `DEADLINE_EXCEEDED` and not begun. The request
    id counts from everybody; `trust`, True or a function of gRPC's context, says whose
    other values are believed. All contexts are derived from `base`, and end with it.
    `metrics` is a registry of prometheus_client, None for no metrics.
    """

    def __init__(
        self,
        timeout: float | None = None,
        *,
        max_timeout: float | None = None,
        trust: Trust = False,
        base: Context | None = None,
        metrics: CollectorRegistry | None = None,
    ) -> None:
        if base is not None and not isinstance(base, Context):
            raise TypeError(f"base is a Context, not {base!r}")
        if not isinstance(trust, bool) and not callable(trust):
            raise TypeError(f"trust is True, False or a function, not {trust!r}")
        frame = sys._getframe(1)
        self._site = frame.f_code, frame.f_lasti  # of whoever has set the timeout
        self._trust = trust
        self._inbound = Inbound(timeout, max_timeout, accepted=ACCEPTED)
        self._arrivals = Arrivals()
        self.metrics: Metrics | None = None
        if metrics is not None:
            from ._metrics import metrics_of

            self.metrics = metrics_of(metrics, "server")
            self.metrics.arrivals.append(self._arrivals)
        above = background() if base is None else base
        self._serving = above.with_cancel()  # what a stop ends
        finalize(self, self._serving.cancel)

    @property
    def waiting(self) -> int:
        """How many calls have come and wait for their handler to begin.

        More than a few for more than a moment: there are too few threads.
        """
        return self._arrivals.waiting().total()

    @property
    def dropped(self) -> int:
        """How many calls never got a handler.

        They waited too long for a thread, came with nothing left, or gRPC refused them
        for its `maximum_concurrent_rpcs`, whose callers got `RESOURCE_EXHAUSTED`.
        """
        return self._arrivals.dropped().total()

    @property
    def stopping(self) -> bool:
        """Whether the server is told to stop, or the service."""
        return self._serving.done()

    def arrival(self, details: Any, handler: Any) -> Arrival:
        """A call has come; its handler has not begun."""
        reads, writes = handler.request_streaming, handler.response_streaming
        method = method_of(details.method, reads=reads, writes=writes)
        return Arrival(self._arrivals, method)

    def arrived(self, context: Any, headers: list[tuple[bytes, bytes]]) -> Arrived:
        """What the caller says, as far as it is believed."""
        trust = self._trust
        trusted = trust if isinstance(trust, bool) else trust(context) is True
        return self._inbound.read(headers, trusted=trusted)

    def scope_of(self, arrived: Arrived, since: float, label: str) -> Scope:
        """The context of a call that came at the instant `since`, not yet entered."""
        above = arrived.onto(self._serving)
        if arrived.timeout is None:
            scope = above.with_cancel(label=label)
        else:
            when = since + arrived.timeout
            scope = above.with_deadline(when, arrived.cause, label=label)
        scope._code, scope._lasti = self._site
        return scope

    def end_calls_in(self, grace: float | None) -> float:
        """End the contexts after so many seconds; when the server may give up."""
        seconds = 0.0 if grace is None else max(0.0, seconds_("grace", grace))
        # It ends by itself, whether anybody is left to be told or not.
        ending = background().with_timeout(seconds)  # tether: ignore[lost-scope]
        ending.after_func(lambda: self._serving.cancel(ServerStopped()))
        return seconds + AFTERWARDS


def handler_like(handler: Any, behavior: Any) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler of the same kind, with another function."""
    kinds = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
    kind = kinds[2 * handler.request_streaming + handler.response_streaming]
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    made: grpc.RpcMethodHandler[Any, Any] = make(
        behavior, handler.request_deserializer, handler.response_serializer
    )
    return made


def behavior_of(handler: Any) -> Any:
    """The function of a handler."""
    return (
        handler.unary_unary
        or handler.unary_stream
        or handler.stream_unary
        or handler.stream_stream
    )
