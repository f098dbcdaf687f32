"""call, stream, call_async, stream_async: one call, with a context first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tether import Context
from tether._loops import call_soon, refuse_to_block

from ._library import grpc
from ._outgoing import Metadata, Outgoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

Q = TypeVar("Q")
R = TypeVar("R")

LOCALLY = (grpc.RpcError, grpc.FutureCancelledError)


@overload
def call(
    ctx: Context,
    method: grpc.UnaryUnaryMultiCallable[Q, R],
    request: Q,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> R: ...
@overload
def call(
    ctx: Context,
    method: grpc.StreamUnaryMultiCallable[Q, R],
    request: Iterator[Q],
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> R: ...
def call(
    ctx: Context,
    method: Any,
    request: Any,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> Any:
    """The response to a request, or to a stream of requests, within `ctx`.

        user = call(ctx, stub.GetUser, GetUserRequest(id=7))

    For a stub of a channel of threads. What `ctx` has left is the deadline of the call,
    and `timeout` (seconds) can shorten it. When `ctx` ends, the call is canceled on the
    wire, and its error is raised with gRPC's as its `__cause__`; if it is over already,
    nothing is sent. While it lasts, gRPC's errors pass as they are.
    """
    refuse_to_block("call", "await call_async(ctx, ...)")
    _check(method, "call", grpc.UnaryUnaryMultiCallable, grpc.StreamUnaryMultiCallable)
    out = Outgoing(ctx, timeout, metadata)
    future = method.future(
        request,
        timeout=out.timeout,
        metadata=out.metadata,
        wait_for_ready=wait_for_ready,
    )
    try:
        with ctx.interrupting(future.cancel):
            return future.result()
    except LOCALLY as exc:
        _raise(out, exc, future)
        raise


@overload
def stream(
    ctx: Context,
    method: grpc.UnaryStreamMultiCallable[Q, R],
    request: Q,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> Iterator[R]: ...
@overload
def stream(
    ctx: Context,
    method: grpc.StreamStreamMultiCallable[Q, R],
    request: Iterator[Q],
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> Iterator[R]: ...
def stream(
    ctx: Context,
    method: Any,
    request: Any,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> Iterator[Any]:
    """The responses to a request, or to a stream of requests, within `ctx`.

        for user in stream(ctx, stub.ListUsers, ListUsersRequest()): ...

    The call begins at once. It is canceled on the wire as soon as `ctx` ends, and when
    the loop over it is left early. Otherwise as `call`.
    """
    refuse_to_block("stream", "async for ... in stream_async(ctx, ...)")
    kinds = grpc.UnaryStreamMultiCallable, grpc.StreamStreamMultiCallable
    _check(method, "stream", *kinds)
    out = Outgoing(ctx, timeout, metadata)
    rpc = method(
        request,
        timeout=out.timeout,
        metadata=out.metadata,
        wait_for_ready=wait_for_ready,
    )
    return _responses(out, rpc)


def _responses(out: Outgoing, rpc: Any) -> Iterator[Any]:
    stop = out.ctx.after_func(rpc.cancel)
    try:
        yield from rpc
        out.ctx.check()
    except LOCALLY as exc:
        _raise(out, exc, rpc)
        raise
    finally:
        stop()
        rpc.cancel()


def _raise(out: Outgoing, exc: BaseException, rpc: Any) -> None:
    slack = out.slack(exc)
    if slack is not None:
        out.ctx.wait(slack + 0.001)
    # A future that was canceled raises an error that knows no code; the call is one.
    known = isinstance(exc, grpc.RpcError) or not isinstance(rpc, grpc.RpcError)
    out.translate(exc if known else rpc)


@overload
async def call_async(
    ctx: Context,
    method: grpc.aio.UnaryUnaryMultiCallable[Q, R],
    request: Q,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> R: ...
@overload
async def call_async(
    ctx: Context,
    method: grpc.aio.StreamUnaryMultiCallable[Q, R],
    request: AsyncIterable[Q] | Iterable[Q],
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> R: ...
async def call_async(
    ctx: Context,
    method: Any,
    request: Any,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> Any:
    """As `call`, in a task, for a stub of a channel of `grpc.aio`."""
    kinds = grpc.aio.UnaryUnaryMultiCallable, grpc.aio.StreamUnaryMultiCallable
    _check(method, "call_async", *kinds)
    out = Outgoing(ctx, timeout, metadata)
    try:
        with ctx.with_cancel():
            return await method(
                request,
                timeout=out.timeout,
                metadata=out.metadata,
                wait_for_ready=wait_for_ready,
            )
    except grpc.RpcError as exc:
        await _raise_async(out, exc)
        raise


@overload
def stream_async(
    ctx: Context,
    method: grpc.aio.UnaryStreamMultiCallable[Q, R],
    request: Q,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> AsyncIterator[R]: ...
@overload
def stream_async(
    ctx: Context,
    method: grpc.aio.StreamStreamMultiCallable[Q, R],
    request: AsyncIterable[Q] | Iterable[Q],
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> AsyncIterator[R]: ...
def stream_async(
    ctx: Context,
    method: Any,
    request: Any,
    /,
    *,
    timeout: float | None = None,
    metadata: Metadata | None = None,
    wait_for_ready: bool | None = None,
) -> AsyncIterator[Any]:
    """As `stream`, in a task, for a stub of a channel of `grpc.aio`.

    A loop that is left early cancels the call when its iterator is closed: at once with
    `contextlib.aclosing`, otherwise when it is collected.
    """
    kinds = grpc.aio.UnaryStreamMultiCallable, grpc.aio.StreamStreamMultiCallable
    _check(method, "stream_async", *kinds)
    out = Outgoing(ctx, timeout, metadata)
    rpc = method(
        request,
        timeout=out.timeout,
        metadata=out.metadata,
        wait_for_ready=wait_for_ready,
    )
    return _responses_async(out, rpc)


async def _responses_async(out: Outgoing, rpc: Any) -> AsyncIterator[Any]:
    # On the wire it ends with the context even while nobody waits for a response.
    loop = asyncio.get_running_loop()
    stop = out.ctx.after_func(lambda: call_soon(loop, rpc.cancel))
    responses = aiter(rpc)
    try:
        while True:
            with out.ctx.with_cancel():
                try:
                    response = await anext(responses)
                except StopAsyncIteration:
                    return
            yield response
    except grpc.RpcError as exc:
        await _raise_async(out, exc)
        raise
    except asyncio.CancelledError as exc:
        # Canceled between two responses: that of the call, not one of the task.
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            out.translate(exc)
        raise
    finally:
        stop()
        rpc.cancel()


async def _raise_async(out: Outgoing, exc: BaseException) -> None:
    slack = out.slack(exc)
    if slack is not None:
        await out.ctx.wait_async(slack + 0.001)
    out.translate(exc)


def _check(method: object, name: str, *kinds: type) -> None:
    if not isinstance(method, kinds):
        names = " or ".join(f"{k.__module__}.{k.__qualname__}" for k in kinds)
        raise TypeError(f"{name} takes a method of a stub, {names}, not {method!r}")
