"""Responses that come out of a generator, for a client in a thread.

An interceptor of the client may make a stream of responses one of its own, and
OpenTelemetry's does. It hides gRPC's object for the call, which alone could be canceled
from another thread, and it does not begin before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import RLock
from typing import Any, TypeAlias, final

from tether import _pool

from ._library import grpc

Answer: TypeAlias = Future[tuple[Any, BaseException | None]]


@final
class Generated:
    """In the place of gRPC's object for a call: what `Responses` needs of one.

    Another thread waits for the next response, so that whoever waits for that is free
    at a `cancel()`. The generator is closed then, and with it the call: at once, or if
    it waits, when it next comes back, at the deadline at the latest.
    """

    def __init__(self, responses: Iterator[Any]) -> None:
        self._responses = responses
        self._variables = copy_context()  # its own, in whichever thread it runs
        self._code: grpc.StatusCode | None = None
        self._canceled = False
        self._callbacks: list[Callable[[Generated], object]] = []
        self._lock = RLock()  # again: closing it runs code that is not ours
        self._next: Answer | None = None
        self._ask()  # a call begins at once

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            answer = self._ask() if self._next is None else self._next
        response, error = answer.result()
        self._next = None
        if error is None:
            return response
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def cancel(self) -> bool:
        """End it; False if it is over."""
        with self._lock:
            if self._code is not None:
                return False
            self._canceled = True
            if self._next is None or self._next.done():
                self._close()
            else:
                self._next.set_result((None, grpc.FutureCancelledError()))
        self._end(grpc.StatusCode.CANCELLED)
        return True

    def code(self) -> grpc.StatusCode | None:
        """How it ended; None while it lasts."""
        return self._code

    def add_done_callback(self, callback: Callable[[Generated], object]) -> None:
        """Have it called at the end, or now."""
        with self._lock:
            if self._code is None:
                self._callbacks.append(callback)
                return
        callback(self)

    def _ask(self) -> Answer:
        self._next = answer = Answer()
        _pool.submit((partial(self._fetch, answer),))
        return answer

    def _fetch(self, answer: Answer) -> None:
        response: Any = None
        error: BaseException | None = None
        try:
            response = self._variables.run(next, self._responses)
        except BaseException as exc:  # the end of the stream among them
            error = exc.with_traceback(None)
        with self._lock:
            if self._canceled:
                self._close()
                error = grpc.FutureCancelledError()
            if not answer.done():
                answer.set_result((response, error))
        if error is not None:
            self._end(_code_of(error))

    def _close(self) -> None:
        responses, self._responses = self._responses, iter(())
        close = getattr(responses, "close", None)
        if close is not None:
            self._variables.run(close)

    def _end(self, code: grpc.StatusCode) -> None:
        with self._lock:
            if self._code is not None:
                return
            self._code = code
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


def _code_of(error: BaseException) -> grpc.StatusCode:
    if isinstance(error, StopIteration):
        return grpc.StatusCode.OK
    code = error.code() if isinstance(error, grpc.Call) else None
    return code or grpc.StatusCode.UNKNOWN
