"""AioServerInterceptor: for a server of grpc.aio, whose handlers are tasks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, final

from tether import ContextError

from ._interceptor import Interceptor, behavior_of, handler_like
from ._library import grpc
from ._serving import Arrival, Serving
from ._threads import in_a_thread


@final
class AioServerInterceptor(Interceptor, grpc.aio.ServerInterceptor):
    """Gives each call of a `grpc.aio.server` a context, `current()` in its handler.

        server = grpc.aio.server(interceptors=[AioServerInterceptor(timeout=30.0)])

    It ends at the caller's deadline, when the caller cancels or is gone, and when the
    server stops, and interrupts the handler. gRPC's own cancel of the handler's task
    becomes the end of the context, so what the handler sees is one interruption, and
    the cause beside it. See `Interceptor` for the arguments.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """What gRPC calls."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        arrival = self.arrival(handler_call_details, handler)
        behavior = behavior_of(handler)
        serve: Any
        # grpc.aio asks what kind of function it has, so ours is of the same kind.
        if inspect.isasyncgenfunction(behavior):
            serve = self._stream(arrival, behavior, handler.request_streaming)
        elif inspect.iscoroutinefunction(behavior):
            serve = self._coroutine(arrival, behavior, handler)
        else:
            return in_a_thread(self, arrival, handler)
        return handler_like(handler, serve)

    async def stop(self, server: grpc.aio.Server, grace: float | None) -> None:
        """Stop the server; after `grace` seconds the calls end, with `UNAVAILABLE`.

        As `server.stop(grace)`, by which contexts end as well: but that cannot tell
        them why, and it hangs up on the callers, where this lets the handlers answer.
        The cause of the contexts is `ServerStopped`.
        """
        await server.stop(self.end_calls_in(grace))

    def _coroutine(self, arrival: Arrival, behavior: Any, handler: Any) -> Any:
        reads = handler.request_streaming
        writes = handler.response_streaming  # with context.write()

        @wraps(behavior)
        async def answer(request: Any, context: Any) -> Any:
            call = Serving(self, arrival, context)
            try:
                with call:
                    got = _requests(call, request) if reads else call.received(request)
                    response = await call.watched(behavior(got, context))
                    return response if writes else call.sent(response)
            except ContextError as exc:
                await _end(call, exc, context)

        return answer

    def _stream(self, arrival: Arrival, behavior: Any, reads: bool) -> Any:
        @wraps(behavior)
        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            call = Serving(self, arrival, context)
            try:
                with call:
                    got = _requests(call, request) if reads else call.received(request)
                    responses = behavior(got, context)
                    while True:
                        try:
                            response = await call.watched(anext(responses))
                        except StopAsyncIteration:
                            break
                        yield call.sent(response)
            except ContextError as exc:
                await _end(call, exc, context)

        return answers


async def _end(call: Serving, exc: ContextError, context: Any) -> None:
    if call.ended_by_grpc:  # there is nobody to answer
        raise asyncio.CancelledError from exc
    await context.abort(*call.answer(exc))


async def _requests(call: Serving, requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield call.received(request)
