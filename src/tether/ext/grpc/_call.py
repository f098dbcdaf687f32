"""One call on its way through a server, whether in a thread or in a task.

What must hold:

1. The context is entered before the handler runs and left when it has returned, its
   stream included. A call that is over by then is answered and its handler never runs.
2. A deadline that gRPC and we both keep is a deadline, whoever notices first.
3. The code that is counted is the one that the caller sees.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, final

from tether import ClientDisconnected, ContextError, DeadlineExceeded, Scope, _clock
from tether._behalf import tells_of
from tether._clock import INF
from tether.wire import CallerTimeout, format_grpc_timeout

from . import _trace
from ._arrivals import Arrival
from ._counting import NOBODY, Counts
from ._library import grpc
from ._status import code_set

if TYPE_CHECKING:
    from ._interceptor import Interceptor

T = TypeVar("T")

# A caller tells of its deadline by a cancel, which comes some milliseconds before ours;
# and 1 % of it before, as gRPC rounds it up, if the caller is none of ours.
SLACK = 0.02
# gRPC shows a stream of requests that a cancel has cut off as one that has ended, and
# tells of the cancel a little later: 0.02 to 1 ms as a rule, 97 ms when measured on a
# busy machine. A handler would take half of an upload for all of it. So whoever finds
# an end asks gRPC for yet another request: the answer goes through gRPC's queue, behind
# the news of a cancel. (Of 20,000 streams that were cut off in all manners, under gRPC
# 1.66 and 1.85, none was then taken for ended.) Where that cannot be asked, an end is
# believed after so many seconds.
CUT_OFF = 0.005
FOREVER = 1e9  # a thread's time_remaining() without a deadline: 292 billion years
GONE = "the client canceled the call or is gone, or the server was stopped"
STOPPING = "the server is stopping"


@final
class Call:
    """The block around the handler of one call, whose errors are the context's."""

    __slots__ = (
        *("_arrival", "_context", "_counts", "_owner", "_slack", "_trace"),
        *("__weakref__", "gone", "scope"),
    )

    def __init__(self, owner: Interceptor, arrival: Arrival, context: Any) -> None:
        self._owner = owner
        self._arrival = arrival
        self._context = context
        self._counts: Counts = NOBODY
        self.gone = False  # gRPC has said that there is nobody to answer
        left = context.time_remaining()
        if left is None or left > FOREVER:
            left = None
        else:
            left += _clock.now() - arrival.at  # what it had when it came
        self._slack = SLACK if left is None else SLACK + left / 100
        metadata = [*(context.invocation_metadata() or ())]
        self._trace = _trace.within(metadata)
        arrived = owner.arrived(context, _headers(metadata, left))
        if arrived.cause is not None:
            left = arrived.timeout  # that is the caller's, and exact
        _, service, name = arrival.method
        self.scope: Scope = owner.scope_of(arrived, arrival.at, f"/{service}/{name}")
        if owner.metrics is not None:
            self._counts = owner.metrics.begin(arrival.method, left)

    def __enter__(self) -> Call:
        try:
            self.scope.__enter__()
        except ContextError as exc:
            self._arrival.drop()
            self._counts.handled(self._answer(exc)[0])
            raise
        self._arrival.begin()
        self._trace.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._trace.__exit__(exc_type, exc, tb)
        if isinstance(exc, GeneratorExit):
            self.over()  # gRPC has dropped the stream
        ended = self.scope.err()
        if ended is None and self.gone and self.scope.deadline is not None:
            ended = DeadlineExceeded()  # see over()
        if ended is not None and isinstance(self.scope.cause(), CallerTimeout):
            self.gone = True
        try:
            self.scope.__exit__(exc_type, exc, tb)
        except ContextError as error:
            exc = error
            raise
        finally:
            self._counts.handled(self._code(exc, ended))
            del exc, ended  # their tracebacks hold this frame

    def _code(
        self, exc: BaseException | None, ended: BaseException | None
    ) -> grpc.StatusCode:
        if self.gone:
            return self._answer(ended)[0]
        status = None if exc is None else self.status(exc)
        if status is not None:
            return status[0]
        if isinstance(exc, asyncio.CancelledError):
            return grpc.StatusCode.CANCELLED
        code = grpc.StatusCode.OK if exc is None else grpc.StatusCode.UNKNOWN
        return code_set(self._context.code()) or code

    def over(self) -> None:
        """What gRPC says: the caller has left, the time is up, or its server stops."""
        self.gone = True
        # So near the deadline that is why, and the scope ends by itself in a moment.
        if self.scope.remaining() > self._slack:
            self.scope.cancel(ClientDisconnected(GONE))

    def patience(self) -> float:
        """How many seconds to wait for a context that is about to end."""
        return self.scope.remaining() + CUT_OFF if self.gone else 0.0

    def status(self, exc: BaseException) -> tuple[grpc.StatusCode, str] | None:
        """The answer for a handler that ended with this; None if no context did it.

        It says nothing of our files.
        """
        if not isinstance(exc, ContextError) and not tells_of(exc, self.scope):
            return None
        return self._answer(exc if isinstance(exc, ContextError) else self.scope.err())

    def _answer(self, error: BaseException | None) -> tuple[grpc.StatusCode, str]:
        if isinstance(error, DeadlineExceeded):
            return grpc.StatusCode.DEADLINE_EXCEEDED, str(error)
        if self._owner.stopping:
            return grpc.StatusCode.UNAVAILABLE, STOPPING  # another one may be asked
        return grpc.StatusCode.CANCELLED, str(error)

    # -- its messages ----------------------------------------------------------

    def received(self, message: T) -> T:
        """Count a request."""
        self._counts.received()
        return message

    def sent(self, message: T) -> T:
        """Count a response."""
        self._counts.sent()
        return message


def _headers(
    metadata: list[tuple[str, str | bytes]], left: float | None
) -> list[tuple[bytes, bytes]]:
    """What came with the call, as `tether.wire` reads it."""
    found = [
        (key.encode(), value.encode("latin-1", "replace"))
        for key, value in metadata
        if isinstance(value, str)
    ]
    if left is not None and left != INF:
        found.append((b"grpc-timeout", format_grpc_timeout(left).encode()))
    return found
