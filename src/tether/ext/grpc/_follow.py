"""Existing code: channels whose calls end with `current()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from tether import current

from ._calls import call, stream
from ._library import grpc
from ._outgoing import Outgoing


def follow(channel: grpc.Channel) -> grpc.Channel:
    """The same channel of threads, whose calls from now on end with `current()`.

        stub = UserStub(follow(grpc.insecure_channel("users:50051")))

    A call of its stubs is `call` or `stream` within the context of the block it is in.
    It is a channel around the other one and no interceptor of gRPC's: those get hold of
    a blocking call only when it is over, and cannot cancel it.
    """
    if not isinstance(channel, grpc.Channel):
        raise TypeError(
            f"follow takes a grpc.Channel, not {channel!r}; for grpc.aio there is "
            "aio.insecure_channel(..., interceptors=client_interceptors())"
        )
    return _Channel(channel)


@final
class _Channel(grpc.Channel):
    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _Unary(self._channel.unary_unary(*args, **kwargs), call)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._channel.unary_stream(*args, **kwargs), stream)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return _Unary(self._channel.stream_unary(*args, **kwargs), call)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._channel.stream_stream(*args, **kwargs), stream)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        self._channel.subscribe(callback, bool(try_to_connect))

    def unsubscribe(self, callback: Any) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> _Channel:
        self._channel.__enter__()
        return self

    def __exit__(self, *of: object) -> bool | None:
        return self._channel.__exit__(*of)


class _Method:
    """A method of a stub, called within `current()`."""

    def __init__(self, method: Any, how: Callable[..., Any]) -> None:
        self._method = method
        self._how = how

    def __call__(self, request: Any, timeout: float | None = None, **more: Any) -> Any:
        return self._how(current(), self._method, request, timeout=timeout, **more)


@final
class _Unary(_Method):
    """The same with a future, which ends with the context although nobody waits."""

    def future(self, request: Any, timeout: float | None = None, **more: Any) -> Any:
        out = Outgoing(current(), timeout, more.pop("metadata", None))
        future = self._method.future(
            request, timeout=out.timeout, metadata=out.metadata, **more
        )
        stop = out.ctx.after_func(future.cancel)
        future.add_done_callback(lambda _: stop())
        return future
