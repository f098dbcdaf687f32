"""ContextMiddleware: what a server is given in place of the application."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeAlias

from tether import Context, DeadlineExceeded, _clock, _where, background
from tether._checks import seconds_
from tether._current import Pending
from tether._current import var as _current
from tether._interrupt import stack_of
from tether._loops import running_loop, task_of
from tether._tree import GIL
from tether.wire import ACCEPTED, Arrived, Inbound, request_id

from . import _websocket
from ._lookout import QUICK, Lookout
from ._request import STOPPED, TOO_LATE, Request, respond
from ._types import (
    NAME,
    ASGIApp,
    Connection,
    Headers,
    Receive,
    Send,
    headers_of,
    label_of,
)

Timeout: TypeAlias = float | Callable[[Connection], float | None] | None
Trust: TypeAlias = bool | Callable[[Connection], bool]

_Task = asyncio.Task
_new = object.__new__
_current_get = _current.get
_current_set = _current.set
_current_reset = _current.reset
_BACKGROUND = background()


class ContextMiddleware:
    """An ASGI application around `app` that gives each request a context of its own.

    `timeout` is the time in seconds that an HTTP request may take, up to the last byte
    of its response; None for as long as its client waits. It may be a function of the
    connection (what ASGI calls the scope); a request whose time is zero or less is
    answered 504 at once. What runs after the response (Starlette's background tasks) is
    not bound by it: there `current()` has the values of the request and no end.

    A caller that says how much time it has left (`tether.wire`, by one of the headers
    `accepted`) can only shorten that; one that has none to speak of is answered 504.
    Where there is no `timeout`, `max_timeout` is the most that a caller can ask for.
    The request has the caller's `X-Request-ID`, or a new one, under
    `tether.wire.REQUEST_ID` and on its response. `trust`, True or a function of the
    connection, says whose other values are believed: those whose `Key` has a name on
    the wire. By default nobody's.

    `base` is what all requests are derived from. When it ends, because the service
    stops, they end; those that come later are answered 503.

    A websocket has a context as long as it lasts, without a timeout. Lifespan events
    pass through.
    """

    def __init__(
        self,
        app: ASGIApp,
        timeout: Timeout = None,
        *,
        max_timeout: float | None = None,
        trust: Trust = False,
        accepted: tuple[str, ...] = ACCEPTED,
        base: Context | None = None,
    ) -> None:
        if timeout is not None and not callable(timeout):
            timeout = seconds_("timeout", timeout)
            if not timeout > 0.0:
                raise ValueError(
                    f"timeout is a number of seconds above 0, not {timeout!r}"
                )
        if base is not None and not isinstance(base, Context):
            raise TypeError(f"base is a Context, not {base!r}")
        if not isinstance(trust, bool) and not callable(trust):
            raise TypeError(f"trust is True, False or a function, not {trust!r}")
        self.app = app
        self.timeout = timeout
        self._seconds = None if callable(timeout) else timeout
        self.base = _BACKGROUND if base is None else base
        frame = sys._getframe(1)
        self.site = frame.f_code, frame.f_lasti  # of whoever has set the timeout
        self.trust = trust
        self._inbound = Inbound(max_timeout=max_timeout, accepted=accepted)
        self._told = {NAME, *(name.lower().encode() for name in accepted)}
        self._plain = (
            base is None
            and trust is False
            and (timeout is None or not self._is_short(timeout))
        )
        self._lookout: Lookout | None = None
        self._sockets: dict[_Task[object], str] = {}  # the open websockets

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """What the server calls."""
        # Written out: each call more is felt by a request that asks for nothing.
        loop = running_loop()
        task = None if loop is None else task_of(loop)
        if scope["type"] != "http" or loop is None or not isinstance(task, _Task):
            await self._else(scope, receive, send, task)
            return
        request = _new(Request)
        request.since = _clock.now()
        request.seconds = self._seconds
        request.middleware = self
        request.task = task
        request.connection = scope
        request.server_receive = receive
        request.server_send = send
        request.variables = copy_context()
        if not self._plain:
            if not await self._admit(request):
                return
        else:
            told = self._told
            headers: Headers = scope["headers"]  # type: ignore[assignment]
            for name, _ in headers:
                if name in told:
                    if not await self._admit(request):
                        return
                    break
            else:
                request.ident = request_id()
        around = _current_get()
        if around is not None:
            if isinstance(around, Pending):
                around._tether_context()
            if isinstance(around, Request) and request.arrived is None:
                request.ident = around.ident  # it is a part of the same request
            if stack_of(loop, task).blocks:
                request.open(first=False)
        lookout = self._lookout
        if lookout is None or lookout.loop is not loop:
            lookout = self._lookout = Lookout(loop)
        among = request.among = lookout.new
        among.add(request)
        if not lookout.ticks:
            lookout.tick_later()
        token = _current_set(request)
        try:
            await self.app(scope, request.receive, request.send)
        except BaseException as exc:
            _current_reset(token)
            if request.end(exc):
                raise
        else:
            _current_reset(token)
            request.ended = request.mute = True  # before the look, see Request.open
            if request.scope is None and request.inbox is None and GIL:
                request.among.discard(request)
                return
            request.end(None)
        if request.scope is not None:
            await request.answer()

    async def _admit(self, request: Request) -> bool:
        """Set the time of a request; False if it has been answered instead."""
        seconds = request.seconds
        if callable(self.timeout):
            seconds = self.timeout(request.connection)
            seconds = None if seconds is None else seconds_("timeout", seconds)
        arrived = self._arrived(request.connection)
        if arrived.timeout is not None:
            if seconds is None or arrived.timeout < seconds:
                seconds = arrived.timeout
            else:
                arrived = arrived._replace(cause=None)
        request.seconds, request.arrived = seconds, arrived
        request.ident = arrived.request_id
        error = self.base.err()
        if isinstance(error, DeadlineExceeded) or (
            seconds is not None and seconds <= 0.0
        ):
            await respond(request.server_send, *TOO_LATE, request.ident)
            return False
        if error is not None:
            await respond(request.server_send, *STOPPED, request.ident)
            return False
        if seconds is not None and self._is_short(seconds):
            request.open(first=False)
        return True

    def _arrived(self, connection: Connection) -> Arrived:
        """What the caller says, as far as it is believed."""
        trust = self.trust
        trusted = trust if isinstance(trust, bool) else trust(connection) is True
        return self._inbound.read(headers_of(connection), trusted=trusted)

    @staticmethod
    def _is_short(timeout: Timeout) -> bool:
        """Whether the time may be over before the lookout has seen the request."""
        return callable(timeout) or (timeout is not None and timeout < 4 * QUICK)

    async def _else(
        self, scope: Connection, receive: Receive, send: Send, task: object
    ) -> None:
        """What is no request, or comes in a task that is none of asyncio's."""
        kind = scope["type"]
        if kind not in {"http", "websocket"}:
            await self.app(scope, receive, send)
        elif not isinstance(task, _Task):
            # A server with tasks of its own (granian's Rust ones): those cannot be
            # interrupted.
            await asyncio.create_task(self(scope, receive, send))
        else:
            arrived = self._arrived(scope)
            ctx = arrived.onto(self.base).with_cancel(label=label_of("WS", scope))
            ident = arrived.request_id
            self._sockets[task] = ctx.label
            try:
                await _websocket.serve(self.app, ctx, ident, scope, receive, send)
            finally:
                del self._sockets[task]

    # -- for whoever stops the service -------------------------------------------

    def in_flight(self) -> list[str]:
        """One line for each request and websocket that is not over: what, and where."""
        known = [] if self._lookout is None else self._lookout.in_flight()
        named = [
            (label_of(request.connection["method"], request.connection), request.task)
            for request in known
        ]
        named += [(label, task) for task, label in self._sockets.items()]
        return [f"{label}, {_where.task(task)}" for label, task in named]

    def ask_base(self) -> None:
        """Look at `base` before each request from now on: it is about to end."""
        self._plain = False
