"""ServerInterceptor: for a server whose handlers run in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial, update_wrapper
from typing import Any, final

from ._arrivals import Arrival
from ._call import Call
from ._interceptor import Interceptor, behavior_of, handler_like
from ._library import grpc
from ._requests import Requests

# How many seconds a client whose time is over has for reading what is sent to it.
READING = 0.1


@final
class ServerInterceptor(Interceptor, grpc.ServerInterceptor):
    """Gives each call of a `grpc.server` a context, `current()` in its handler.

        calls = ServerInterceptor(timeout=30.0)
        server = grpc.server(ThreadPoolExecutor(10), interceptors=[calls])

    It ends at the caller's deadline, when the caller cancels or is gone, and when the
    server stops. A thread cannot be interrupted: what ends is whatever was given the
    context, and the wait for the next request of a stream. A handler that ends with
    `DeadlineExceeded` or `Canceled` answers with that status. See `Interceptor` for
    the arguments.
    """

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """What gRPC calls."""
        handler = continuation(handler_call_details)
        if handler is None or _sends_later(handler):
            return handler
        return in_a_thread(self, self.arrival(handler_call_details, handler), handler)

    def stop(self, server: grpc.Server, grace: float | None) -> threading.Event:
        """Stop the server; after `grace` seconds the calls end, with `UNAVAILABLE`.

        As `server.stop(grace)`, by which contexts end as well: but that cannot tell
        them why, and it hangs up on the callers, where this lets the handlers answer.
        The cause of the contexts is `ServerStopped`.
        """
        return server.stop(self.end_calls_in(grace))


def _sends_later(handler: Any) -> bool:
    """Whether gRPC is to hand its function a callback for the responses.

    Such a function (`Watch` of gRPC's health service is one) returns at once and sends
    for hours: there is no block of code that could have a context.
    """
    marked = getattr(behavior_of(handler), "experimental_non_blocking", False)
    return bool(handler.response_streaming and marked)


def in_a_thread(
    owner: Interceptor,
    arrival: Arrival,
    handler: Any,
    adapt: Callable[[Any], Any] = lambda context: context,
) -> Any:
    """A handler that gives the function of another one its context.

    `adapt` makes gRPC's context one with `add_callback()` and `code()`.
    """
    behavior = behavior_of(handler)
    served = _Served(owner, arrival, behavior, handler.request_streaming, adapt)
    serve = partial(served.stream if handler.response_streaming else served.unary)
    update_wrapper(serve, behavior)  # gRPC looks for attributes of it
    return handler_like(handler, serve)


@final
class _Served:
    """The function of a handler, with the context of one call around it."""

    def __init__(
        self,
        owner: Interceptor,
        arrival: Arrival,
        behavior: Any,
        reads: bool,
        adapt: Callable[[Any], Any],
    ) -> None:
        self._owner = owner
        self._arrival = arrival
        self._behavior = behavior
        self._reads = reads
        self._adapt = adapt

    def unary(self, request: Any, context: Any) -> Any:
        context = self._adapt(context)
        call = Call(self._owner, self._arrival, context)
        try:
            with call:
                got = self._begin(call, request, context)
                return call.sent(self._behavior(got, context))
        except Exception as exc:
            _refuse(call, context, exc)

    def stream(self, request: Any, context: Any) -> Iterator[Any]:
        context = self._adapt(context)
        call = Call(self._owner, self._arrival, context)
        try:
            with call:
                got = self._begin(call, request, context)
                sending = _Sending(context)
                stop = call.scope.after_func(sending.hang_up)
                try:
                    for response in self._behavior(got, context):
                        sending.over.clear()
                        yield call.sent(response)
                        sending.over.set()
                        call.scope.check()
                finally:
                    stop()
        except Exception as exc:
            _refuse(call, context, exc)

    def _begin(self, call: Call, request: Any, context: Any) -> Any:
        """What the handler is to be given in place of `request`."""
        if context.add_callback(call.over) is False:
            call.over()  # it had been before
        call.scope.check()
        return Requests(call, request) if self._reads else call.received(request)


@final
class _Sending:
    """Frees a thread that sends to a client who does not read, when its time is up."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.over = threading.Event()
        self.over.set()

    def hang_up(self) -> None:
        """When the context has ended, in a thread of tether's."""
        if not self.over.wait(READING):
            # Then there is no status to be sent either.
            self._context.cancel()


def _refuse(call: Call, context: Any, exc: Exception) -> None:
    """Answer a call whose handler ended with `exc`, if that is from a context."""
    status = call.status(exc)
    if status is None:
        raise exc
    if isinstance(context, grpc.ServicerContext):
        context.abort(*status)
    # On a server of tasks abort() may fail when the call is over, and what is returned
    # with such a code is not sent.
    context.set_code(status[0])
    context.set_details(status[1])
