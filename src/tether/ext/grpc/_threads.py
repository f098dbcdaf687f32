"""ServerInterceptor: for a server whose handlers run in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, final

from tether import ContextError

from ._interceptor import Interceptor, behavior_of, handler_like
from ._library import grpc
from ._serving import Arrival, Serving


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
        if handler is None:
            return None
        return in_a_thread(self, self.arrival(handler_call_details, handler), handler)

    def stop(self, server: grpc.Server, grace: float | None) -> threading.Event:
        """Stop the server; after `grace` seconds the calls end, with `UNAVAILABLE`.

        As `server.stop(grace)`, by which contexts end as well: but that cannot tell
        them why, and it hangs up on the callers, where this lets the handlers answer.
        The cause of the contexts is `ServerStopped`.
        """
        return server.stop(self.end_calls_in(grace))


def in_a_thread(owner: Interceptor, arrival: Arrival, handler: Any) -> Any:
    """A handler that gives the function of another one its context."""
    serve = _stream if handler.response_streaming else _unary
    reads = handler.request_streaming
    behavior = behavior_of(handler)
    return handler_like(handler, partial(serve, owner, arrival, behavior, reads))


def _unary(
    owner: Interceptor,
    arrival: Arrival,
    behavior: Any,
    reads: bool,
    request: Any,
    context: Any,
) -> Any:
    call = Serving(owner, arrival, context)
    try:
        with call:
            _listen(call, context)
            got = _requests(call, request, context) if reads else call.received(request)
            return call.sent(behavior(got, context))
    except ContextError as exc:
        context.abort(*call.answer(exc))


def _stream(
    owner: Interceptor,
    arrival: Arrival,
    behavior: Any,
    reads: bool,
    request: Any,
    context: Any,
) -> Iterator[Any]:
    call = Serving(owner, arrival, context)
    try:
        with call:
            _listen(call, context)
            got = _requests(call, request, context) if reads else call.received(request)
            for response in behavior(got, context):
                call.scope.check()
                yield call.sent(response)
                call.scope.check()
    except ContextError as exc:
        context.abort(*call.answer(exc))


def _listen(call: Serving, context: Any) -> None:
    if context.add_callback(call.over) is False:
        call.over()


def _requests(call: Serving, requests: Any, context: Any) -> Iterator[Any]:
    """The requests of a stream; the wait for the next one ends with the context."""
    # Nothing but a cancel of the whole call wakes a thread that waits for a request.
    while True:
        try:
            with call.scope.interrupting(context.cancel):
                request = next(requests)
        except StopIteration:
            return
        except grpc.RpcError as exc:
            call.over()
            call.scope.check()
            raise AssertionError from exc
        yield call.received(request)
