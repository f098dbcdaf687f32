"""call, stream: one call in a thread, with a context first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, final

from tether import Context
from tether._loops import refuse_to_block

from ._generated import Generated
from ._library import grpc
from ._outgoing import Outgoing, Sent

P = ParamSpec("P")
R = TypeVar("R")

ONE = grpc.UnaryUnaryMultiCallable, grpc.StreamUnaryMultiCallable
MANY = grpc.UnaryStreamMultiCallable, grpc.StreamStreamMultiCallable
LOCALLY = grpc.RpcError, grpc.FutureCancelledError


def call(
    ctx: Context, method: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """The response to a request, or to a stream of requests, within `ctx`.

        user = call(ctx, stub.GetUser, GetUserRequest(id=7))

    For a stub of a channel of threads; what follows the request are gRPC's own options
    (`metadata=`, `wait_for_ready=`). What `ctx` has left is the deadline of the call,
    and `timeout=` in seconds can shorten it. When `ctx` ends, the call is canceled on
    the wire, and its error is raised with gRPC's as its `__cause__`; if it is over
    already, nothing is sent. While it lasts, gRPC's errors pass as they are.
    """
    refuse_to_block("call", "await call_async(ctx, ...)")
    response: R = waited(Outgoing(ctx, method, args, kwargs))[0]
    return response


def waited(out: Outgoing) -> tuple[Any, Any]:
    """The response, and gRPC's object for the call."""
    future = begun(out)
    try:
        with out.ctx.interrupting(future.cancel):
            try:
                return future.result(), future
            except LOCALLY as exc:
                # gRPC raises the call itself, and its frames have that: a cycle, which
                # would keep the context. So no frame of ours may have it, either.
                exc.__traceback__ = None
                raise
    except LOCALLY as exc:
        _translate(out, exc)
        raise
    except BaseException:
        future.cancel()
        raise
    finally:
        del future


def begun(out: Outgoing) -> Any:
    """A call with one response that has been sent off."""
    if not isinstance(out.method, ONE):
        raise _wrong("call", "one response", out.method)
    future = out.send(out.method.future)
    if out.watched:
        future.add_done_callback(lambda _: out.handled(future.code()))
    return future


def stream(
    ctx: Context, method: Callable[P, Iterable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> Responses[R]:
    """The responses to a request, or to a stream of requests, within `ctx`.

        for user in stream(ctx, stub.ListUsers, ListUsersRequest()): ...

    The call begins at once. It is canceled on the wire as soon as `ctx` ends, and when
    nothing has the responses any more, as after a loop that is left early; where they
    have a name, `with contextlib.closing(stream(...)) as responses`. Otherwise as
    `call`.
    """
    refuse_to_block("stream", "async for ... in stream_async(ctx, ...)")
    out = Outgoing(ctx, method, args, kwargs)
    if not isinstance(out.method, MANY):
        raise _wrong("stream", "a stream of responses", out.method)
    rpc = out.send(out.method)
    return Responses(out, rpc if hasattr(rpc, "cancel") else Generated(rpc))


@final
class Responses(Sent, Generic[R]):
    """The responses of a call, one by one; and what gRPC's object for the call has.

    `close()` cancels the call if it is not over; so does dropping the object.
    """

    def __init__(self, out: Outgoing, rpc: Any) -> None:
        self._out = out
        self._rpc = rpc
        self._stop = out.ctx.after_func(rpc.cancel)
        if out.watched:
            rpc.add_done_callback(lambda _: out.handled(rpc.code()))

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        try:
            response: R = next(self._rpc)
        except LOCALLY as exc:
            self._stop()
            out = self._out
            del self  # as in waited()
            exc.__traceback__ = None
            _translate(out, exc)
            raise
        except StopIteration:
            self._stop()
            raise
        self._out.received()
        return response

    def close(self) -> None:
        """Cancel the call, if it is not over."""
        self._stop()
        self._rpc.cancel()

    __del__ = close


def _translate(out: Outgoing, exc: BaseException) -> None:
    slack = out.slack(exc)
    if slack is not None:
        out.ctx.wait(slack)
    out.translate(exc)


def _wrong(name: str, what: str, method: object) -> TypeError:
    return TypeError(
        f"{name} takes a method with {what}, of a stub whose channel is one of "
        f"threads, not {method!r}; for grpc.aio there is {name}_async"
    )
