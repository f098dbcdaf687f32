"""One call on its way through a server, whether in a thread or in a task.

What must hold:

1. The context is entered before the handler runs and left when it has returned, its
   stream included. A call that is over by then is answered and the handler never runs.
2. A deadline that gRPC and we both keep is a deadline, whoever notices first.
3. The code that is counted is the one that the caller sees.
4. What never got a thread is counted by a finalizer, which takes no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

from tether import ClientDisconnected, ContextError, DeadlineExceeded, Scope, _clock
from tether._behalf import tells_of
from tether._clock import INF
from tether._interrupt import claim
from tether._tree import End
from tether.wire import format_grpc_timeout

from ._library import grpc
from ._status import code_of_end, code_set

if TYPE_CHECKING:
    from ._interceptor import Interceptor

T = TypeVar("T")
Method: TypeAlias = tuple[str, str, str]  # type, service, name

# gRPC tells of a deadline as of a cancel, some milliseconds before or after our own.
SLACK = 0.02
FOREVER = 1e9  # a thread's time_remaining() without a deadline: 292 billion years
GONE = "the client canceled the call or is gone, or the server was stopped"


@final
class Arrival:
    """A call that waits for its handler to begin; if it is dropped, it never does."""

    __slots__ = ("_dropped", "begun", "method")

    def __init__(self, method: Method, dropped: deque[Method]) -> None:
        self.method = method
        self.begun = False
        self._dropped = dropped

    def __del__(self) -> None:
        if not self.begun:
            self._dropped.append(self.method)


@final
class Serving:
    """The block around the handler of one call. Its errors are the context's."""

    __slots__ = ("_context", "_method", "_owner", "_since", "ended_by_grpc", "scope")

    def __init__(self, owner: Interceptor, arrival: Arrival, context: Any) -> None:
        self._owner = owner
        self._context = context
        self._method = method = arrival.method
        self._since = _clock.now()
        self.ended_by_grpc = False
        left = context.time_remaining()
        if left is not None and left > FOREVER:
            left = None
        label = f"/{method[1]}/{method[2]}"
        self.scope: Scope = owner.scope_of(context, headers(context, left), label)
        arrival.begun = True
        if owner.metrics is not None:
            owner.metrics.started(method, left)

    def __enter__(self) -> Serving:
        try:
            self.scope.__enter__()
        except ContextError as exc:
            self._owner.open.discard(self.scope)
            self._owner.dropped.append(self._method)
            self._count(exc, exc)
            raise
        return self

    def __exit__(self, *of: object) -> None:
        exc: BaseException | None = of[1]
        if isinstance(exc, GeneratorExit):
            self.over()  # gRPC has dropped the stream
        ended = self.scope.err()
        try:
            self.scope.__exit__(*of)
        except ContextError as error:
            exc = error
            raise
        finally:
            self._owner.open.discard(self.scope)
            self._count(exc, ended)
            del exc, ended

    def _count(self, exc: BaseException | None, ended: BaseException | None) -> None:
        if self._owner.metrics is not None:
            seconds = _clock.now() - self._since
            self._owner.metrics.handled(self._method, self._code(exc, ended), seconds)

    def _code(
        self, exc: BaseException | None, ended: BaseException | None
    ) -> grpc.StatusCode:
        if isinstance(exc, ContextError):
            return code_of_end(exc)
        if ended is not None:
            return code_of_end(ended)
        own = code_set(self._context.code())
        if exc is None:
            return own or grpc.StatusCode.OK
        return own or grpc.StatusCode.UNKNOWN

    # -- its end ---------------------------------------------------------------

    def over(self) -> None:
        """End it, since gRPC says that the call is over: the client, the server's stop, the time."""
        scope = self.scope
        if scope.deadline is not None and scope.remaining() < SLACK:
            node_cause = scope._cause if isinstance(scope._cause, Exception) else None
            scope._commit(End(DeadlineExceeded, node_cause, _clock.now()))
        else:
            scope.cancel(ClientDisconnected(GONE))

    def watched(self, awaitable: Any) -> Interruptible:
        """To await in place of a handler's: gRPC's cancel becomes the context's end."""
        return Interruptible(self, awaitable)

    def interrupted(self, exc: BaseException) -> None:
        """A cancel is about to be thrown into the handler."""
        task = asyncio.current_task()
        if not isinstance(exc, asyncio.CancelledError) or task is None:
            return
        if self.scope.done() or not task.cancelling():
            return  # ours
        # From here on it is the end of the context, delivered now and not once more.
        self.ended_by_grpc = True
        self.over()
        end = self.scope._ended()
        assert end is not None
        claim(end)
        task.uncancel()

    def answer(self, exc: ContextError) -> tuple[grpc.StatusCode, str]:
        """The status for a handler that ended with this. Says nothing of our files."""
        code = code_of_end(exc)
        if tells_of(exc, self.scope) and code is grpc.StatusCode.UNAVAILABLE:
            return code, str(exc.__cause__)
        return code, str(exc)

    # -- its messages ----------------------------------------------------------

    def received(self, message: T) -> T:
        """Count a request."""
        if self._owner.metrics is not None:
            self._owner.metrics.received(self._method)
        return message

    def sent(self, message: T) -> T:
        """Count a response."""
        if self._owner.metrics is not None:
            self._owner.metrics.sent(self._method)
        return message


@final
class Interruptible:
    """Awaits something else, and tells the call of a cancel before that gets it."""

    __slots__ = ("_awaitable", "_call")

    def __init__(self, call: Serving, awaitable: Any) -> None:
        self._call = call
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._awaitable.__await__()
        step, value = inner.__next__, ()
        while True:
            try:
                future = step(*value)
            except StopIteration as done:
                return done.value
            try:
                step, value = inner.__next__, ()
                yield future
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as exc:
                self._call.interrupted(exc)
                step, value = inner.throw, (exc,)


def headers(context: Any, left: float | None) -> list[tuple[bytes, bytes]]:
    """What came with the call, as `tether.wire` reads it."""
    found = [
        (key.encode(), value.encode("latin-1", "replace"))
        for key, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    ]
    if left is not None and left != INF:
        found.append((b"grpc-timeout", format_grpc_timeout(left).encode()))
    return found
