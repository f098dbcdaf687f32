"""The requests of a stream, for a handler in a thread."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, TypeAlias, final

from tether import Closed, ContextError, Queue, Scope, _pool, current
from tether._calls import can_end

from ._call import CUT_OFF, Call
from ._library import grpc

Came: TypeAlias = tuple[Any, BaseException | None]

_END: Any = object()


@final
class Requests:
    """What gRPC's iterator gives; the wait for the next one ends with `current()`.

    Nothing but a cancel of the whole call wakes a thread that waits in that iterator,
    and then there would be nobody to answer. So another thread reads, until the call is
    over, a little ahead. (Dropped: to have it read when asked. That takes two changes
    of threads for each request, and twice the time.) What it gets after a wait was
    given up is the next one's: nothing is lost.
    """

    def __init__(self, call: Call, requests: Any) -> None:
        self._call = call
        self._requests = requests
        self._came: Queue[Came] | None = None

    def __iter__(self) -> Requests:
        return self

    def __next__(self) -> Any:
        call = self._call
        ctx = current()
        if not can_end(ctx):
            ctx = call.scope  # in a thread of the handler's own
        ctx.check()
        if self._came is None:
            self._came = Queue(maxsize=1)
            _pool.submit((partial(_read, self._requests, call.scope, self._came),))
        request: Any = None
        error: BaseException | None
        try:
            request, error = self._came.get(ctx)
        except Closed:
            error = StopIteration()
        if error is None:
            return call.received(request)
        try:
            if isinstance(error, grpc.RpcError):
                call.over()  # it is
            if isinstance(self._requests, Generator):  # of a server of tasks
                call.scope.wait(CUT_OFF)
            call.scope.wait(call.patience())
            ctx.check()
            call.scope.check()
            raise error
        finally:
            del error  # its traceback holds this frame


def _read(requests: Any, scope: Scope, came: Queue[Came]) -> None:
    """Read all of them, while the handler runs."""
    request: Any = None
    error: BaseException | None = None
    try:
        while error is None:
            try:
                request = next(requests, _END)
                if request is _END:
                    request = next(requests)  # see CUT_OFF
            except BaseException as exc:  # the end of the stream among them
                request, error = None, exc.with_traceback(None)
            came.put(scope, (request, error))
    except ContextError:
        pass
    finally:
        came.close()
        del error  # its traceback holds this frame
