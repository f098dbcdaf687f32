"""The context of each request, in any ASGI application.

    app = ContextMiddleware(app, timeout=2.0)

Put it outermost. Below it `tether.current()` is the request's context: it has the
request's time, and it is over when the client has left, when the time has run out, or
when the handler has returned. In a handler that is a coroutine the `await` in progress
is interrupted then; in one that runs in a thread whatever takes the context notices.

How

The application runs in the task that the server has made for the request, inside a
scope. A request that is answered within LISTEN_AFTER costs no task. After that one task
listens for the client to leave, which in ASGI means to receive: it reads at most one
message ahead and hands on what it has read. It does not read where that would change
what the client sees (an unanswered `Expect: 100-continue`).

An application that waits in `receive()` itself (a streaming response, Quart, Django) is
told there, by the message it waits for, and is not interrupted: it ends its own tasks,
and an interruption would leave them behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final

from tether import ContextError, DeadlineExceeded, Scope, background

__all__ = ["ClientDisconnected", "ContextMiddleware"]

LISTEN_AFTER = 0.02

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_TIMED_OUT = b"the time for this request has run out\n"


class ClientDisconnected(Exception):
    """The client closed its connection before it had its answer: a cause."""


@final
class ContextMiddleware:
    """Gives each request a context that ends with its time and with its client.

    `timeout` is in seconds, for the whole request; None for no limit. When it runs out
    before the response has begun, the client gets 504; after that the response is cut
    off. Errors and ends that are not the request's own pass through untouched.

    A websocket gets a context for the whole connection, without a time limit. Lifespan
    messages go straight through. Work that goes on after the last byte of the response
    (background tasks of the framework) is not interrupted any more.
    """

    def __init__(self, app: App, timeout: float | None = None) -> None:
        self._app = app
        # Refused here, and not in each request.
        background().with_timeout(1.0 if timeout is None else timeout).cancel()
        self._timeout = timeout

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Run the application for one connection."""
        if scope["type"] == "http":
            if isinstance(asyncio.current_task(), asyncio.Task):
                await self._request(scope, receive, send)
            else:
                # A server with tasks of its own making, which cannot be interrupted.
                await asyncio.create_task(self._request(scope, receive, send))
        elif scope["type"] == "websocket":
            with background().with_cancel(label=f"WEBSOCKET {scope['path']}"):
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        # From the root, never from the context that happens to be current: a server
        # that is awaited inside a block has that block's context in every request.
        label = f"{scope['method']} {scope['path']}"
        if self._timeout is None:
            ctx = background().with_cancel(label=label)
        else:
            ctx = background().with_timeout(self._timeout, label=label)
        exchange = _Exchange(ctx, scope, receive, send)
        timer = asyncio.get_running_loop().call_later(LISTEN_AFTER, exchange.listen)
        try:
            with ctx:
                await self._app(scope, exchange.receive, exchange.send)
        except ContextError as exc:
            if exc.ctx is not ctx:
                raise
            if isinstance(exc, DeadlineExceeded) and not exchange.begun:
                await _answer_504(send)
            # Else there is nobody to tell, or nothing more to say.
        finally:
            timer.cancel()
            exchange.stop()


async def _answer_504(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_TIMED_OUT)).encode()),
    ]
    await send({"type": "http.response.start", "status": 504, "headers": headers})
    await send({"type": "http.response.body", "body": _TIMED_OUT})


@final
class _Exchange:
    """One request: what has been read ahead, and how far the response is."""

    __slots__ = (
        *("_ahead", "_changed", "_continues", "_ctx", "_gone", "_listener"),
        *("_receive", "_send", "_waiting", "_wanted", "begun", "finished"),
    )

    def __init__(
        self,
        ctx: Scope,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        self._ctx = ctx
        self._receive = receive
        self._send = send
        self._ahead: Message | None = None
        self._changed: asyncio.Event | None = None
        self._listener: asyncio.Task[None] | None = None
        self._waiting = 0  # calls of receive() by the application
        self._wanted = False  # the time to listen has come
        self._gone = False
        self._continues = any(
            name == b"expect" and value.lower() == b"100-continue"
            for name, value in scope["headers"]
        )
        self.begun = False
        self.finished = False

    # -- what the application calls --------------------------------------------

    async def send(self, message: Message) -> None:
        self.begun = True
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            # The client has its answer. What comes now is the framework's own
            # business, and a disconnect is the end of every connection.
            self.finished = True
            self._ctx.__exit__(None, None, None)

    async def receive(self) -> Message:
        self._waiting += 1
        try:
            while True:
                if self._ahead is not None:
                    message, self._ahead = self._ahead, None
                    self._tell()
                    return message
                if self._gone:
                    return {"type": "http.disconnect"}
                if self._listener is None:
                    message = await self._receive()
                    self._continues = False
                    self._gone = message["type"] == "http.disconnect"
                    return message
                await self._change()
        finally:
            self._waiting -= 1
            if self._wanted:
                self.listen()

    # -- the listener ----------------------------------------------------------

    def listen(self) -> None:
        """Start to listen, unless the application reads or must be the first to."""
        self._wanted = True
        if (
            self._listener is None
            and not self._waiting
            and not self._continues
            and not self._gone
            and not self.finished
        ):
            self._changed = asyncio.Event()
            self._listener = asyncio.get_running_loop().create_task(self._listen())

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()

    async def _listen(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                self._tell()
                if not self.finished and not self._waiting:
                    self._ctx.cancel(ClientDisconnected())
                return
            self._ahead = message
            self._tell()
            while self._ahead is not None and message.get("more_body"):
                await self._change()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed.set()

    async def _change(self) -> None:
        assert self._changed is not None
        self._changed.clear()
        await self._changed.wait()
