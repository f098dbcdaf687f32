"""The requests of a stream, for a handler in a thread."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any, final

from tether import _pool, current, wait_for
from tether._calls import can_end

from ._call import CUT_OFF, Call
from ._library import grpc


@final
class Requests:
    """What gRPC's iterator gives; the wait for the next one ends with `current()`.

    Nothing but a cancel of the whole call wakes a thread that waits in that iterator,
    and then there would be nobody to answer. So another thread waits there, which is
    free again when the call is over. What it gets after a wait was given up is the next
    one's: nothing is lost.
    """

    def __init__(self, call: Call, requests: Any) -> None:
        self._call = call
        self._requests = requests
        self._next: Future[tuple[Any, BaseException | None]] | None = None

    def __iter__(self) -> Requests:
        return self

    def __next__(self) -> Any:
        ctx = current()
        if not can_end(ctx):
            ctx = self._call.scope  # in a thread of the handler's own
        ctx.check()
        if self._next is None:
            self._next = Future()
            _pool.submit((partial(_fetch, self._requests, self._next),))
        request, error = wait_for(ctx, self._next)
        self._next = None
        if error is None:
            return self._call.received(request)
        try:
            if isinstance(error, grpc.RpcError):
                self._call.over()  # it is
            self._call.scope.wait(CUT_OFF)
            self._call.scope.wait(self._call.patience())
            ctx.check()
            self._call.scope.check()
            raise error
        finally:
            del error  # its traceback holds this frame


def _fetch(requests: Any, answer: Future[tuple[Any, BaseException | None]]) -> None:
    try:
        answer.set_result((next(requests), None))
    except BaseException as exc:  # the end of the stream among them
        # Not as the future's exception: whoever waits for that has the future.
        answer.set_result((None, exc.with_traceback(None)))
