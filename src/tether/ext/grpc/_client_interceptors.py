"""client_interceptors: for channels of grpc.aio whose code reads `current()`."""

from __future__ import annotations

from typing import Any, final

from tether import current

from ._library import grpc
from ._outgoing import Outgoing


def client_interceptors() -> list[grpc.aio.ClientInterceptor]:
    """Interceptors that give the calls of a `grpc.aio` channel the end of `current()`.

        channel = grpc.aio.insecure_channel(
            "users:50051", interceptors=client_interceptors()
        )

    Each call gets what is left as its deadline, the values that cross, and does not
    start when nothing is left. The block around it interrupts it, which cancels the
    call on the wire. gRPC's own timer may be some milliseconds ahead of the block's:
    then the error is its `AioRpcError` with `DEADLINE_EXCEEDED`; `call_async` has one
    error for both.
    """
    # gRPC looks for the first kind that an interceptor is of, and forgets the others.
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]


async def _proceed(continuation: Any, details: Any, request: Any) -> Any:
    out = Outgoing(current(), details.timeout, details.metadata)
    metadata = grpc.aio.Metadata(*out.metadata)
    details = details._replace(timeout=out.timeout, metadata=metadata)
    return await continuation(details, request)


@final
class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await _proceed(continuation, client_call_details, request)


@final
class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        return await _proceed(continuation, client_call_details, request)


@final
class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await _proceed(continuation, client_call_details, request_iterator)


@final
class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await _proceed(continuation, client_call_details, request_iterator)
