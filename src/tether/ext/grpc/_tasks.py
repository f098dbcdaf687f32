"""AioServerInterceptor: for a server of grpc.aio, whose handlers are tasks.

gRPC cancels the task in which it calls a handler, once, rudely, and a little after our
own deadline. So the handler runs in a task of its own: gRPC's cancel is only told to
the context, which interrupts the handler as it always does, and gRPC's task waits until
the handler has obeyed. (Dropped: to translate the cancel inside of gRPC's own task. It
strikes the future that is awaited, so it cannot be kept from a clean-up that runs since
our deadline.)
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial, wraps
from typing import Any, final
from weakref import ref

from tether._loops import call_soon
from tether._outlast import outlasting

from ._arrivals import Arrival
from ._call import Call
from ._interceptor import Interceptor, behavior_of, handler_like
from ._library import grpc
from ._threads import in_a_thread

_END: Any = object()


@final
class AioServerInterceptor(Interceptor, grpc.aio.ServerInterceptor):
    """Gives each call of a `grpc.aio.server` a context, `current()` in its handler.

        server = grpc.aio.server(interceptors=[AioServerInterceptor(timeout=30.0)])

    It ends at the caller's deadline, when the caller cancels or is gone, and when the
    server stops, and interrupts the handler, once, in its current `await`. Handlers
    that are plain functions run in threads, as gRPC has it. See `Interceptor` for the
    arguments.
    """

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """What gRPC calls."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        arrival = self.arrival(handler_call_details, handler)
        behavior = behavior_of(handler)
        # gRPC asks what kind of function it has, so ours is of the same kind.
        if inspect.isasyncgenfunction(behavior):
            return handler_like(handler, self._stream(arrival, behavior, handler))
        if inspect.iscoroutinefunction(behavior):
            return handler_like(handler, self._coroutine(arrival, behavior, handler))
        return _plain(self, arrival, handler)

    async def stop(self, server: grpc.aio.Server, grace: float | None) -> None:
        """Stop the server; after `grace` seconds the calls end, with `UNAVAILABLE`.

        As `server.stop(grace)`, by which contexts end as well: but that cannot tell
        them why, and it hangs up on the callers, where this lets the handlers answer.
        The cause of the contexts is `ServerStopped`.
        """
        await server.stop(self.end_calls_in(grace))

    def _coroutine(self, arrival: Arrival, behavior: Any, handler: Any) -> Any:
        reads = handler.request_streaming
        writes = handler.response_streaming  # with context.write()

        async def answered(call: Call, request: Any, context: Any) -> Any:
            try:
                with call:
                    got = _given(call, request, context, reads)
                    response = await behavior(got, context)
                    return response if writes else call.sent(response)
            except Exception as exc:
                await _refuse(call, context, exc)

        @wraps(behavior)
        async def answer(request: Any, context: Any) -> Any:
            call = Call(self, arrival, context)
            return await outlasting(answered(call, request, context), call.over)

        return answer

    def _stream(self, arrival: Arrival, behavior: Any, handler: Any) -> Any:
        reads = handler.request_streaming

        async def fill(
            out: asyncio.Queue[Any], call: Call, request: Any, context: Any
        ) -> None:
            try:
                with call:
                    got = _given(call, request, context, reads)
                    async with aclosing(behavior(got, context)) as responses:
                        async for response in responses:
                            out.put_nowait(call.sent(response))
                            await out.join()  # until the next one is asked for
            except Exception as exc:
                await _refuse(call, context, exc)
            finally:
                out.put_nowait(_END)

        @wraps(behavior)
        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            call = Call(self, arrival, context)
            # If gRPC is canceled while it sends, it drops this generator. Weakly, as
            # the call has the context that has this.
            context.add_done_callback(partial(_over, ref(call)))
            out: asyncio.Queue[Any] = asyncio.Queue()
            filling = asyncio.ensure_future(fill(out, call, request, context))
            try:
                while (response := await out.get()) is not _END:
                    yield response
                    out.task_done()
            except BaseException:
                call.over()
                raise
            finally:
                if not filling.done():
                    await outlasting(asyncio.wait([filling]), call.over)
                _look_at(filling)
            await filling

        return answers


def _given(call: Call, request: Any, context: Any, reads: bool) -> Any:
    """What a handler is to be given in place of `request`."""
    return _Requests(call, request, context) if reads else call.received(request)


async def _refuse(call: Call, context: Any, exc: Exception) -> None:
    """Answer a call whose handler ended with `exc`, if that is from a context."""
    status = call.status(exc)
    if status is None:
        raise exc
    if call.gone:
        raise asyncio.CancelledError from exc  # for which gRPC has an ear
    await context.abort(*status)


def _over(known: ref[Call], _: object) -> None:
    call = known()
    if call is not None:
        call.over()


def _look_at(task: asyncio.Task[Any]) -> None:
    """Or asyncio complains of an exception that nobody has looked at."""
    if not task.cancelled():
        task.exception()


@final
class _Requests:
    """The requests of a stream, up to its end; raises if that was no end.

    A wait for the next one may be given up, by a budget of the handler: what comes then
    is the next one's. gRPC's own iterator is over after that, as if nothing more came.
    """

    def __init__(self, call: Call, requests: Any, context: Any) -> None:
        self._call = call
        self._requests = requests
        self._context = context
        self._next: asyncio.Task[Any] | None = None

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        while True:
            if self._next is None:
                self._next = asyncio.ensure_future(self._read())
                self._next.add_done_callback(_look_at)
            done = self._next
            await asyncio.wait([done])
            if done is self._next:  # or another task of the handler has taken it
                break
        self._next = None
        try:
            request = done.result()
        finally:
            del done  # an exception of it holds this frame
        if request is not _END:
            return self._call.received(request)
        await self._call.scope.wait_async(self._call.patience())
        self._call.scope.check()
        raise StopAsyncIteration

    async def _read(self) -> Any:
        request = await anext(self._requests, _END)
        if request is _END:
            try:
                await self._context.read()  # see CUT_OFF
            except grpc.aio.BaseError:
                self._call.over()  # it is
        return request


# -- plain functions -----------------------------------------------------------------


def _plain(owner: Interceptor, arrival: Arrival, handler: Any) -> Any:
    """A handler that runs in a thread, and hears what the task of its call hears."""
    task = asyncio.current_task()
    assert task is not None
    return in_a_thread(owner, arrival, handler, partial(_Context, task))


@final
class _Context:
    """GRPC's context for plain functions, which tells less than that of threads."""

    def __init__(self, task: asyncio.Task[Any], context: Any) -> None:
        self._task = task
        self._context = context
        self._code: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def add_callback(self, callback: Callable[[], object]) -> bool:
        add = self._task.add_done_callback
        call_soon(self._task.get_loop(), lambda: add(lambda _: callback()))
        return True

    def code(self) -> Any:
        return self._code

    def set_code(self, code: Any) -> None:
        self._code = code
        self._context.set_code(code)

    def cancel(self) -> None:
        """There is no such thing on a server of tasks."""

    def abort(self, code: Any, *more: Any) -> None:
        self._code = code
        self._context.abort(code, *more)
