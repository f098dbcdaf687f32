"""call_async, stream_async: one call in a task, with a context first."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
)
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, final

from tether import Context, Scope
from tether._loops import call_soon

from ._library import grpc
from ._outgoing import Outgoing, Sent

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

ONE = grpc.aio.UnaryUnaryMultiCallable, grpc.aio.StreamUnaryMultiCallable
MANY = grpc.aio.UnaryStreamMultiCallable, grpc.aio.StreamStreamMultiCallable


async def call_async(
    ctx: Context,
    method: Callable[P, Awaitable[R]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """As `call`, in a task, for a stub of a channel of `grpc.aio`.

    user = await call_async(ctx, stub.GetUser, GetUserRequest(id=7))
    """
    out = Outgoing(ctx, method, args, kwargs)
    if not isinstance(out.method, ONE):
        raise _wrong("call_async", "one response", out.method)
    response: R = await Response(out)
    return response


def stream_async(
    ctx: Context,
    method: Callable[P, AsyncIterable[R]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> AsyncResponses[R]:
    """As `stream`, in a task, for a stub of a channel of `grpc.aio`.

    async for user in stream_async(ctx, stub.ListUsers, ListUsersRequest()): ...
    """
    out = Outgoing(ctx, method, args, kwargs)
    if not isinstance(out.method, MANY):
        raise _wrong("stream_async", "a stream of responses", out.method)
    return AsyncResponses(out, _begun(out))


def _begun(out: Outgoing) -> Any:
    """A call that has been sent off."""
    over = None
    if isinstance(out.request, AsyncIterable):
        # Not by the context: this task would cancel the call, before the context has
        # interrupted who awaits it, and that would look like a cancel of somebody else.
        detached = out.ctx.without_cancel()  # tether: ignore[detached-without-limit]
        over = detached.with_cancel()
        out.request = _until(over, out.request)
    rpc = out.send(out.method, lambda pairs: grpc.aio.Metadata(*pairs))
    if over is not None:
        rpc.add_done_callback(lambda _: over.cancel())
    if out.watched:
        rpc.add_done_callback(lambda rpc: out.handled(_at_once(rpc.code())))
    return rpc


async def _until(over: Scope, requests: AsyncIterable[T]) -> AsyncIterator[T]:
    # In gRPC's task for them, which would wait for the next one for ever if the call
    # ends by itself meanwhile.
    with over:
        async for request in requests:
            yield request


@final
class Response(Sent):
    """The response of a call, to be awaited; and what gRPC's object for it has."""

    def __init__(self, out: Outgoing) -> None:
        self._out = out
        self._rpc = _begun(out)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        out, rpc = self._out, self._rpc
        try:
            if rpc.done():  # what has come is given, also when the context is over
                return await rpc
            with out.ctx.with_cancel():
                return await rpc
        except grpc.RpcError as exc:
            await _translate(out, exc)
            raise
        except BaseException:
            rpc.cancel()  # not by the wait for it, if there was none
            raise


@final
class AsyncResponses(Sent, Generic[R]):
    """The responses of a call, one by one; and what gRPC's object for the call has.

    `cancel()` ends the call; so does dropping the object.
    """

    def __init__(self, out: Outgoing, rpc: Any) -> None:
        self._out = out
        self._rpc = rpc
        self._responses: Any = None  # it may be read with read() instead
        # On the wire it ends with the context even while nobody waits for a response.
        self._cancel = partial(call_soon, asyncio.get_running_loop(), rpc.cancel)
        self._stop = out.ctx.after_func(self._cancel)

    def __aiter__(self) -> AsyncIterator[R]:
        return self

    async def __anext__(self) -> R:
        out = self._out
        if self._responses is None:
            self._responses = aiter(self._rpc)
        try:
            with out.ctx.with_cancel():
                response: R = await anext(self._responses)
        except grpc.RpcError as exc:
            self._stop()
            await _translate(out, exc)
            raise
        except asyncio.CancelledError as exc:
            # Of the call, not of the task: it was canceled between two responses.
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                out.translate(exc)
            raise
        except StopAsyncIteration:
            self._stop()
            raise
        out.received()
        return response

    async def aclose(self) -> None:
        """Cancel the call, if it is not over."""
        self._stop()
        self._rpc.cancel()

    def __del__(self) -> None:
        self._stop()
        self._cancel()


async def _translate(out: Outgoing, exc: BaseException) -> None:
    slack = out.slack(exc)
    if slack is not None:
        await out.ctx.wait_async(slack)
    out.translate(exc)


def _at_once(ended: Coroutine[Any, Any, grpc.StatusCode]) -> grpc.StatusCode:
    """What a coroutine returns that has nothing to wait for."""
    try:
        ended.send(None)
    except StopIteration as done:
        code: grpc.StatusCode = done.value
        return code
    ended.close()
    return grpc.StatusCode.UNKNOWN


def _wrong(name: str, what: str, method: object) -> TypeError:
    return TypeError(
        f"{name} takes a method with {what}, of a stub whose channel is one of "
        f"grpc.aio, not {method!r}"
    )
