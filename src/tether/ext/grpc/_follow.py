"""Existing code: channels whose calls end with `current()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

from tether import current

from ._awaiting import Response, stream_async
from ._blocking import begun, stream, waited
from ._library import grpc
from ._methods import Followed
from ._outgoing import Outgoing

if TYPE_CHECKING:
    from types import TracebackType

    from prometheus_client import CollectorRegistry

C = TypeVar("C", grpc.Channel, grpc.aio.Channel)


def follow(channel: C, *, metrics: CollectorRegistry | None = None) -> C:
    """The same channel, whose calls from now on end with `current()`.

        stub = UserStub(follow(grpc.insecure_channel("users:50051")))
        stub = UserStub(follow(grpc.aio.insecure_channel("users:50051")))

    A call of its stubs has what the context of the block around it has left as its
    deadline, takes the values along that cross, and is not started when nothing is
    left. When the context ends, it is canceled on the wire. `metrics`, a registry of
    prometheus_client, counts the calls of its stubs, also those made by `call` and
    its like.

    It is a channel around the other one and no interceptor of gRPC's: those for threads
    get hold of a blocking call only when it is over, and cannot cancel it; those for
    tasks cost a task for each call.
    """
    counting = None
    if metrics is not None:
        from ._metrics import metrics_of

        counting = metrics_of(metrics, "client")
    if isinstance(channel, _Channel | _AioChannel):
        counting = counting or channel._metrics
        channel = channel._channel  # not twice
    if isinstance(channel, grpc.Channel):
        return _Channel(channel, counting)
    if isinstance(channel, grpc.aio.Channel):
        return _AioChannel(channel, counting)
    raise TypeError(f"follow takes a channel of grpc or grpc.aio, not {channel!r}")


# -- in threads ----------------------------------------------------------------------


@final
class _Channel(grpc.Channel):
    def __init__(self, channel: grpc.Channel, metrics: Any) -> None:
        self._channel = channel
        self._metrics = metrics

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.unary_unary(method, *args, **kwargs)
        return _Unary(raw, method, self._metrics, reads=False, writes=False)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.unary_stream(method, *args, **kwargs)
        return _Stream(raw, method, self._metrics, reads=False, writes=True)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.stream_unary(method, *args, **kwargs)
        return _Unary(raw, method, self._metrics, reads=True, writes=False)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.stream_stream(method, *args, **kwargs)
        return _Stream(raw, method, self._metrics, reads=True, writes=True)

    def subscribe(self, callback: Any, *args: Any, **kwargs: Any) -> None:
        self._channel.subscribe(callback, *args, **kwargs)

    def unsubscribe(self, callback: Any) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> _Channel:
        self._channel.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        return self._channel.__exit__(exc_type, exc, tb)


@final
class _Unary(Followed):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return waited(Outgoing(current(), self, args, kwargs))[0]

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return waited(Outgoing(current(), self, args, kwargs))

    def future(self, *args: Any, **kwargs: Any) -> Any:
        # It ends with the context although nobody waits for it.
        out = Outgoing(current(), self, args, kwargs)
        future = begun(out)
        stop = out.ctx.after_func(future.cancel)
        future.add_done_callback(lambda _: stop())
        return future


@final
class _Stream(Followed):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return stream(current(), self, *args, **kwargs)


# -- in tasks ------------------------------------------------------------------------


@final
class _AioChannel(grpc.aio.Channel):
    def __init__(self, channel: grpc.aio.Channel, metrics: Any) -> None:
        self._channel = channel
        self._metrics = metrics

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.unary_unary(method, *args, **kwargs)
        return _AioUnary(raw, method, self._metrics, reads=False, writes=False)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.unary_stream(method, *args, **kwargs)
        return _AioStream(raw, method, self._metrics, reads=False, writes=True)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.stream_unary(method, *args, **kwargs)
        return _AioUnary(raw, method, self._metrics, reads=True, writes=False)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        raw = self._channel.stream_stream(method, *args, **kwargs)
        return _AioStream(raw, method, self._metrics, reads=True, writes=True)

    def get_state(self, *args: Any, **kwargs: Any) -> grpc.ChannelConnectivity:
        return self._channel.get_state(*args, **kwargs)

    async def wait_for_state_change(self, *args: Any, **kwargs: Any) -> None:
        await self._channel.wait_for_state_change(*args, **kwargs)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    async def __aenter__(self) -> _AioChannel:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        return await self._channel.__aexit__(exc_type, exc, tb)


@final
class _AioUnary(Followed):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Response(Outgoing(current(), self, args, kwargs))


@final
class _AioStream(Followed):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return stream_async(current(), self, *args, **kwargs)
