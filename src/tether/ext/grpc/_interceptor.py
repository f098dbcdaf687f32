"""What the interceptors for threads and for tasks have in common."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from tether import Context, Scope, _clock, background
from tether._checks import seconds_
from tether._clock import INF
from tether._timers import threads as timers
from tether.wire import Inbound

from ._library import grpc
from ._serving import Arrival, Method
from ._status import ServerStopped

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Trust: TypeAlias = bool | Callable[[Any], bool]

# How long after the contexts have ended the server gives up what is left of the calls.
AFTERWARDS = 0.25


class Interceptor:
    """The settings of a server, and the context of each of its calls.

    `timeout` is the time in seconds that a call may take; a caller's deadline can only
    shorten it, and is at most `max_timeout` where there is none. `trust`, True or a
    function of gRPC's context, says whose values are believed. All contexts are derived
    from `base`. `metrics` is a registry of prometheus_client, None for no metrics.
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
        self._trust = trust
        self._inbound = Inbound(timeout, max_timeout, accepted=("grpc-timeout",))
        self._base = background() if base is None else base
        self.open: set[Scope] = set()
        self._stopped = False
        self._deadline = INF  # when a stop ends the calls: see _due
        self.dropped: deque[Method] = deque()
        self._expired: Counter[Method] = Counter()
        self._counting = threading.Lock()
        self.metrics = None
        if metrics is not None:
            from ._metrics import Expired, metrics_of

            self.metrics = metrics_of(metrics, "server")
            metrics.register(Expired(self._expirations))

    @property
    def expired(self) -> int:
        """How many calls were over before their handler began, which then never ran.

        They waited for a thread for too long, or came with nothing left. If it grows,
        the server is asked for more than it has threads for.
        """
        return sum(self._expirations().values())

    def _expirations(self) -> dict[Method, int]:
        with self._counting:
            while self.dropped:
                self._expired[self.dropped.popleft()] += 1
            return dict(self._expired)

    def arrival(self, details: Any, handler: Any) -> Arrival:
        """A call has come; its handler has not begun."""
        service, _, name = details.method.lstrip("/").rpartition("/")
        return Arrival((type_of(handler), service, name), self.dropped)

    def scope_of(
        self, context: Any, headers: list[tuple[bytes, bytes]], label: str
    ) -> Scope:
        """The context of a call, not yet entered."""
        trust = self._trust
        trusted = trust if isinstance(trust, bool) else trust(context) is True
        arrived = self._inbound.read(headers, trusted=trusted)
        above = arrived.onto(self._base)
        if arrived.timeout is None:
            scope = above.with_cancel(label=label)
        else:
            scope = above.with_timeout(arrived.timeout, arrived.cause, label=label)
        self.open.add(scope)
        if self._stopped:  # asked afterwards: it may have missed the stop
            scope.cancel(ServerStopped())
        return scope

    def end_calls_in(self, grace: float | None) -> float:
        """End the contexts after so many seconds; when the server may give up."""
        seconds = 0.0 if grace is None else max(0.0, seconds_("grace", grace))
        self._deadline = _clock.now() + seconds
        timers.add(self)
        return seconds + AFTERWARDS

    def _due(self) -> None:
        # In the thread of the shared timers: a cancel waits for nothing.
        self._stopped = True
        for scope in [*self.open]:
            scope.cancel(ServerStopped())


def type_of(handler: Any) -> str:
    """What go-grpc-prometheus calls the kind of a method."""
    if handler.request_streaming:
        return "bidi_stream" if handler.response_streaming else "client_stream"
    return "server_stream" if handler.response_streaming else "unary"


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
