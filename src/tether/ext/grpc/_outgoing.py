"""What a call takes along, and what its errors mean; for threads and tasks alike."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from typing import Any, NoReturn, TypeAlias, final

from tether import Canceled, Context, DeadlineExceeded, _watching
from tether._calls import instead_of
from tether._clock import INF
from tether._errors import NOT_A_CONTEXT
from tether.wire import TIMEOUT, Outbound

from ._counting import NOBODY, Counts
from ._library import grpc
from ._methods import Followed

# With the time that is left, although gRPC sends it too: that rounds it up by as much
# as 1 %, so that a chain of services would win time at each hop.
OUTBOUND = Outbound()

# Codes of a call that was cut, and of one that has reached nobody. All others answer.
CUT = grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED
NO_ANSWER = grpc.StatusCode.UNAVAILABLE

# By how much gRPC's timer may be ahead of ours, in seconds.
SLACK = 0.02

_MISSING: Any = object()

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


@final
class Outgoing:
    """One call that is about to be made within `ctx`; raises if that is over.

    `args` and `kwargs` are what gRPC is to be given: a request, and options.
    """

    __slots__ = (
        *("_limited", "_metadata", "_more", "_reads", "_timeout", "_told"),
        *("_writes", "counts", "ctx", "method", "request"),
    )

    def __init__(
        self,
        ctx: Context,
        method: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        if not isinstance(ctx, Context):
            raise TypeError(NOT_A_CONTEXT.format(name="a call", value=ctx))
        ctx.check()
        self.ctx = ctx
        self.method = method
        self.counts: Counts = NOBODY
        self._told: Callable[[BaseException | None], None] | None = None
        self._reads = self._writes = False
        self._take(*args, **kwargs)
        if isinstance(method, Followed):
            self.method = method.raw
            self._reads, self._writes = method.reads, method.writes
            if method.metrics is not None:
                self.counts = method.metrics.begin(method.labels, self._timeout)

    def _take(
        self,
        request: Any = _MISSING,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: Any = None,
        wait_for_ready: Any = None,
        compression: Any = None,
        *,
        request_iterator: Any = _MISSING,
        **more: Any,
    ) -> None:
        """The arguments of a method of a stub, as gRPC names them.

        All but the last may come by position; OpenTelemetry passes them so.
        """
        left = self.ctx.remaining()
        # Whether it is the context that sets the time.
        self._limited = left != INF and (timeout is None or left < timeout)
        self._timeout = left if self._limited else timeout
        headers: dict[str, str] = {}
        OUTBOUND.write(self.ctx, headers)
        given = [(name, value) for name, value in metadata or () if name != TIMEOUT]
        names = {name for name, _ in given}
        new = [(name, text) for name, text in headers.items() if name not in names]
        self._metadata = [*given, *new]
        self.request = request if request_iterator is _MISSING else request_iterator
        self._more = {
            "credentials": credentials,
            "wait_for_ready": wait_for_ready,
            "compression": compression,
            **more,
        }

    def send(
        self,
        start: Callable[..., Any],
        metadata: Callable[[list[Any]], Any] = list,
    ) -> Any:
        """Call `start`, a way to begin a call of the method."""
        if _watching.hop is not None:
            self._told = _watching.hop(self.ctx, _path_of(self.method), "")
        # Taken out: a stream of responses may last, and need not keep its request.
        request, self.request = self.request, _MISSING
        try:
            return start(
                *(() if request is _MISSING else (self._counted(request),)),
                timeout=self._timeout,
                metadata=metadata(self._metadata),
                **self._more,
            )
        except BaseException as exc:
            # It was begun, as far as it was counted.
            code = exc.code() if isinstance(exc, grpc.Call) else None
            self.counts.handled(code or grpc.StatusCode.UNKNOWN)
            self._answer(exc)
            raise

    def _counted(self, request: Any) -> Any:
        if self.counts is NOBODY or request is None:
            return request  # None: with channels of tasks, for what is to be written
        if not self._reads:
            self.counts.sent()
            return request
        if isinstance(request, AsyncIterable):
            return _sent_async(self.counts, request)
        return _sent(self.counts, request)

    @property
    def watched(self) -> bool:
        """Whether anybody wants to hear of what comes: `received` and `handled`."""
        return self.counts is not NOBODY or self._told is not None

    def received(self) -> None:
        """Count a response of a stream; with the first one the answer begins."""
        self.counts.received()
        self._answer(None)

    def handled(self, code: grpc.StatusCode) -> None:
        """Count it, with the code that whoever has called is told."""
        if code in CUT:
            self._answer(self.ctx.err() or Canceled())
        else:
            self._answer(grpc.RpcError() if code is NO_ANSWER else None)
        if code is grpc.StatusCode.OK and not self._writes:
            self.counts.received()
        if code is grpc.StatusCode.CANCELLED and isinstance(
            self.ctx.err(), DeadlineExceeded
        ):
            code = grpc.StatusCode.DEADLINE_EXCEEDED
        self.counts.handled(code)

    def _answer(self, exc: BaseException | None) -> None:
        """The answer begins, or what comes instead of it; the first time counts."""
        told, self._told = self._told, None
        if told is not None:
            told(exc)

    def slack(self, exc: BaseException) -> float | None:
        """How long the context may yet take to end for the same reason as the call.

        None: the error says something else.
        """
        code = getattr(exc, "code", None)
        if code is None or code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            return None
        left = self.ctx.remaining()
        return left + 0.001 if self._limited and left < SLACK else None

    def translate(self, exc: BaseException) -> None:
        """Raise the context's error from that of a call, if it is over."""
        instead_of(exc, self.ctx)


class Sent:
    """In the place of gRPC's object for a call, whose attributes it has."""

    _rpc: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)

    def __reduce__(self) -> NoReturn:
        # A copy would cancel the call when it goes.
        raise TypeError("a call can be neither copied nor pickled")


def _path_of(method: Any) -> str:
    """The path of a method of a stub: what its server calls the work, too.

    Private in gRPC (1.66 to 1.85), and all that it has: the target of a channel of
    tasks is nowhere to be read.
    """
    path = getattr(method, "_method", "")
    return path.decode() if isinstance(path, bytes) else str(path)


def _sent(counts: Counts, requests: Iterable[Any]) -> Iterator[Any]:
    for request in requests:
        counts.sent()
        yield request


async def _sent_async(
    counts: Counts, requests: AsyncIterable[Any]
) -> AsyncIterator[Any]:
    async for request in requests:
        counts.sent()
        yield request
