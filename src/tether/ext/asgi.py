"""ASGI: each request has a context that ends when its client goes away.

    app = ContextMiddleware(Starlette(routes=[...]), timeout=30.0)

Wrap it around everything else. In a handler `tether.current()` is the request's scope.
When the client closes the connection, or the time is up, the handler is interrupted in
its current `await`, and whatever was given the context ends with it. Out of time is
answered with 504; once the response has begun, the connection is closed instead.

What costs a request something is kept from those that end within some milliseconds:
no task and no timer is made for them. For a longer one a task listens to the server,
never more than one message ahead of the application, and hands it what it read.

Three things are not seen, because they cannot be:

- A client that goes away while it still has to send more than one message of its body,
  or that waits for `100 Continue`, before the application reads: nobody may listen
  then. The timeout holds.
- A client that closes only its sending side: servers report it as gone.
- Frameworks that run the handler in a task of their own and listen themselves (Quart,
  Django) are told of the client first and end the handler in their way. Their handler
  is not interrupted by the timeout; its context is over all the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TypeAlias, cast, final

from tether import ContextError, DeadlineExceeded, Scope, background

__all__ = ["ASGIApp", "ClientDisconnected", "ContextMiddleware"]

Message: TypeAlias = MutableMapping[str, object]
Connection: TypeAlias = MutableMapping[str, object]  # what ASGI calls the scope
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Connection, Receive, Send], Awaitable[None]]
Task: TypeAlias = asyncio.Task[object]
Future: TypeAlias = asyncio.Future[None]

# A request that ends sooner is never listened to. The look is once in as much time, so
# listening begins after one to two of it.
QUICK = 0.015
# How long an application that has heard of the client by itself may take to end before
# its context is canceled.
GRACE = 0.1


class ClientDisconnected(Exception):
    """The client closed its connection: the cause of the request's cancel."""


class ContextMiddleware:
    """An ASGI application around `app` that gives each request a context of its own.

    `timeout` is the time in seconds that an HTTP request may take, up to the last byte
    of its response; None for as long as its client waits. What runs after the response
    (Starlette's background tasks) is not bound by it: there `current()` has the values
    of the request and no end.

    A websocket has a context as long as it lasts, without a timeout. Lifespan events
    pass through.
    """

    def __init__(self, app: ASGIApp, timeout: float | None = None) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        self.app = app
        self.timeout = timeout
        self._lookout: _Lookout | None = None

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """What the server calls."""
        kind = scope["type"]
        if kind not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        task = asyncio.current_task()
        if not isinstance(task, asyncio.Task):
            # A server with tasks of its own (granian's Rust ones): those cannot be
            # interrupted.
            await asyncio.create_task(self(scope, receive, send))
        elif kind == "http":
            await self._http(scope, receive, send, task)
        else:
            with background().with_cancel(label=_label("WS", scope)):
                await self.app(scope, receive, send)

    async def _http(
        self, scope: Connection, receive: Receive, send: Send, task: Task
    ) -> None:
        # From the root: a context that was current where the server was started is
        # not an ancestor of its requests.
        label = _label(scope["method"], scope)
        if self.timeout is None:
            ctx = background().with_cancel(label=label)
        else:
            ctx = background().with_timeout(self.timeout, label=label)
        request = _Request(ctx, task, scope, receive, send)
        loop = task.get_loop()
        lookout = self._lookout
        if lookout is None or lookout.loop is not loop:
            lookout = self._lookout = _Lookout(loop)
        lookout.add(request)
        stopped = False
        try:
            with ctx:
                try:
                    await self.app(scope, request.receive, request.send)
                finally:
                    request.end()
        except ContextError as exc:
            if exc.ctx is not ctx:
                raise
            stopped = True
        except Exception as exc:
            if not (request.gone and _tells_of_client(exc)):
                raise
        if request.started or request.gone:
            return  # a response that is not complete: the server closes the connection
        if isinstance(ctx.err(), DeadlineExceeded):
            await request.answer(504, b"The request took too long.\n")
        elif stopped:
            await request.answer(503, b"The request was stopped.\n")


@final
class _Request:
    """What stands between the application and the server during one request."""

    # Most requests change few of these.
    started = False  # the response has begun
    finished = False  # its last message is on its way
    ended = False  # the application has returned
    gone = False  # the client left before the response was finished
    _hung_up = False  # the server has said so, or that the response is finished
    _trailers = False
    _asked = False  # the application has begun to read
    _late = False  # no longer quick: to be listened to
    _direct = 0  # calls of the application that wait in the server's receive()
    _elsewhere = 0  # calls that wait in another task than the request's
    _listener: Task | None = None
    _ahead: Message | None = None  # the one message read ahead
    _whole = False  # the last message of the body has been read
    _taken: Future | None = None  # the listener waits until the above is taken
    _failure: Exception | None = None  # of the server's receive()
    _rest: Scope | None = None  # entered after the response

    def __init__(
        self, ctx: Scope, task: Task, scope: Connection, receive: Receive, send: Send
    ) -> None:
        self._ctx = ctx
        self._task = task
        self._scope = scope
        self._server_receive = receive
        self._server_send = send
        self._variables = copy_context()  # without ctx: for the listener
        self._arrivals: list[Future] = []
        self.among: set[_Request]  # where the lookout has it

    # -- what the application calls --------------------------------------------

    async def receive(self) -> Message:
        """The next message, from the listener if there is one."""
        while not self.ended:
            message = self._ahead
            if message is not None:
                self._ahead = None
                if self._taken is not None and not self._taken.done():
                    self._taken.set_result(None)
                return message
            if self._failure is not None:
                raise self._failure
            if self._hung_up:
                break
            own = asyncio.current_task() is self._task
            self._elsewhere += not own
            try:
                if self._listener is None:
                    return await self._receive_directly()
                arrival = self._task.get_loop().create_future()
                self._arrivals.append(arrival)
                await arrival
            finally:
                self._elsewhere -= not own
                if self.finished:
                    self._release()
        return {"type": "http.disconnect"}

    async def _receive_directly(self) -> Message:
        self._asked = True
        self._direct += 1
        try:
            message = await self._server_receive()
            self._hear(message)
        finally:
            self._direct -= 1
            if self._late:
                self._listen()
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, and note how far the response is."""
        if self.ended:
            return  # from a task that a framework has left behind
        kind = message["type"]
        if kind == "http.response.start":
            if message["status"] == 500:
                self._own_up()
            self._trailers = bool(message.get("trailers"))
            self.started = True
        elif kind == "http.response.trailers":
            self.finished = not message.get("more_trailers")
        elif kind in _BODY and not message.get("more_body"):
            self.finished = not self._trailers
        await self._server_send(message)
        if self.finished:
            self._release()
        elif self._late:
            self._listen()

    def _own_up(self) -> None:
        """Raise our end again where a framework takes it for a crash of the handler.

        It comes as an ordinary exception out of a thread. The framework answers 500
        while it handles that exception, and then raises it again, to be logged.
        """
        crash = sys.exc_info()[1]
        if isinstance(crash, ContextError) and crash.ctx is self._ctx:
            self._ctx.check()

    def _release(self) -> None:
        """The response is out: what the application still does has no end of ours.

        Only in the request's own task; in others nothing is interrupted. Nobody cancels
        the context any more, so without a deadline it may stay.
        """
        if (
            self._rest is None
            and self._ctx.deadline is not None
            and not self.ended
            and asyncio.current_task() is self._task
        ):
            self._rest = self._ctx.without_cancel().with_cancel()
            self._rest.__enter__()

    # -- what the middleware calls ---------------------------------------------

    def end(self) -> None:
        """The application has returned; still inside the request's block."""
        if self._rest is not None:
            self._rest.__exit__(None, None, None)
        self.ended = True
        self.among.discard(self)
        if self._listener is not None:
            self._listener.cancel()
        self._arrived()
        if self.gone:
            self._cancel()

    async def answer(self, status: int, body: bytes) -> None:
        """Send a whole response in place of the application."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        try:
            await self._server_send(start)
            await self._server_send({"type": "http.response.body", "body": body})
        except OSError:
            pass  # gone as well

    # -- listening -------------------------------------------------------------

    def is_late(self) -> None:
        """The request is not a quick one: listen, as soon as that is allowed."""
        self._late = True
        self._listen()

    def _listen(self) -> None:
        if (
            self._listener is None
            and not (self._direct or self._hung_up or self.finished or self.ended)
            # To ask the server for the body is to tell the client to send it.
            and (self._asked or self.started or not _expects_continue(self._scope))
        ):
            listener = self._read_ahead()
            self._listener = self._task.get_loop().create_task(
                listener, context=self._variables
            )

    async def _read_ahead(self) -> None:
        try:
            while not self._hung_up:
                message = await self._server_receive()
                if message["type"] == "http.request":
                    self._ahead = message
                self._hear(message)
                while self._ahead is not None and not self._whole:
                    self._taken = self._task.get_loop().create_future()
                    await self._taken
        except Exception as exc:  # the application's, as if it had asked itself
            self._failure = exc
            self._arrived()

    def _hear(self, message: Message) -> None:
        if message["type"] == "http.request":
            self._whole = not message.get("more_body")
            self._arrived()
            return
        self._hung_up = True
        self._arrived()  # first: who waits for the message gets it
        if self.finished or self.ended:
            return
        self.gone = True
        if self._elsewhere:
            # The framework listens, and now ends its handler. To interrupt what waits
            # for the two would leave the handler behind.
            self._task.get_loop().call_later(GRACE, self._cancel)
        else:
            self._cancel()

    def _arrived(self) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            if not arrival.done():
                arrival.set_result(None)

    def _cancel(self) -> None:
        self._ctx.cancel(ClientDisconnected("the client closed its connection"))


@final
class _Lookout:
    """Finds the requests that take longer, with one timer for all of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._old: set[_Request] = set()
        self._new: set[_Request] = set()
        self._ticks = False

    def add(self, request: _Request) -> None:
        request.among = self._new
        self._new.add(request)
        if not self._ticks:
            self._ticks = True
            self._tick_later()

    def _tick_later(self) -> None:
        # In no request's variables: it would keep them alive.
        self.loop.call_later(QUICK, self._tick, context=Variables())

    def _tick(self) -> None:
        old, self._old, self._new = self._old, self._new, set()
        if self._old:
            self._tick_later()
        else:
            self._ticks = False
        for request in list(old):
            request.is_late()


_BODY = frozenset(
    ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")
)


def _label(method: object, scope: Connection) -> str:
    label = f"{method} {scope['path']}"
    if not label.isprintable():  # a path may hold line ends, and labels go to logs
        label = ascii(label)[1:-1]
    return label


def _expects_continue(scope: Connection) -> bool:
    headers = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    return any(
        name.lower() == b"expect" and value.lower() == b"100-continue"
        for name, value in headers
    )


def _tells_of_client(exc: Exception) -> bool:
    """Whether an exception only says that the client is gone.

    ASGI servers raise an OSError from send(), and Starlette's Request and Response a
    ClientDisconnect.
    """
    return isinstance(exc, OSError) or type(exc).__name__ == "ClientDisconnect"
