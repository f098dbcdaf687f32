"""The time that a client may take to send the head of a request.

uvicorn has a limit for an idle connection that has had a request, and none for a first
request or one that has begun. So a few clients that send a byte now and then can keep
all connections. Here the head of each request has its time: from the opening of the
connection, or from the first byte that comes after the last response.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, cast

import h11

from tether._checks import seconds_

from ._library import FAST, Config, H11Protocol, ServerState

if FAST:
    from ._library import HttpToolsProtocol

# A connection without a whole request when the server stops: one may be on its way.
LINGER = 1.0
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class Heads(asyncio.Protocol):
    """What both of uvicorn's protocols are given, in front of their own methods."""

    seconds: float
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any  # the request that is at work, or was
    _begun = False  # something has come since the last response
    _stopping = False
    _timer: asyncio.TimerHandle | None = None  # set while a head is waited for

    def _waits(self) -> bool:
        """Whether, after what has come, a head is still incomplete."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._arm(self.seconds)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits():
            self._begun = True
            if self._timer is None:
                self._arm(self.seconds)
        elif self._timer is not None:
            self._disarm()
            if self._stopping and self.cycle is not None:
                self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called by the server when it stops."""
        if self._timer is None or self._is_at_work():
            super().shutdown()  # type: ignore[misc]
            return
        self._stopping = True
        when = min(self._timer.when(), self.loop.time() + LINGER)
        self._disarm()
        self._arm(when - self.loop.time())

    def _is_at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        self._begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._is_at_work():
            self._arm(self.seconds)  # it is the head of the next request
            return
        if self._begun:
            self.transport.write(TOO_SLOW)
        self.transport.close()


class H11(Heads, H11Protocol):
    """uvicorn's protocol in Python."""

    def _waits(self) -> bool:
        return self.conn.their_state is h11.IDLE


if FAST:

    class HttpTools(Heads, HttpToolsProtocol):
        """uvicorn's protocol in C, whose parser tells how far it is."""

        _head = False
        _body = False

        def _waits(self) -> bool:
            return self._head or not (self._body or self._is_at_work())

        def on_message_begin(self) -> None:
            self._head = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = False
            self._body = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._body = False
            super().on_message_complete()


@dataclass(frozen=True)
class _Factory:
    """Stands for the class; an object, so that it can be sent to a worker."""

    seconds: float
    fast: bool

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        kind: type[H11 | HttpTools] = HttpTools if self.fast else H11
        protocol = kind(config, server_state, app_state, _loop)
        protocol.seconds = self.seconds
        return protocol


def header_timeout(seconds: float, http: str = "auto") -> type[asyncio.Protocol]:
    """A protocol for uvicorn that gives each client `seconds` for a request's head.

        uvicorn.run("shop:app", http=header_timeout(5.0))

    Or as the name of it: `uvicorn shop:app --http shop:Protocol`. A client that needs
    longer is answered 408, one that has sent nothing is not answered, and both are
    closed. `http` is as uvicorn's: "httptools", "h11", or "auto" for what is there.

    When the server stops, a connection on which no request has come yet is closed a
    second later and not at once: the request may be on its way.
    """
    seconds = seconds_("seconds", seconds)
    if not 0.0 < seconds < math.inf:
        raise ValueError(f"seconds is a number above 0, not {seconds!r}")
    if http not in {"auto", "h11", "httptools"}:
        raise ValueError(f"http is 'auto', 'h11' or 'httptools', not {http!r}")
    if http == "httptools" and not FAST:
        raise ImportError("http='httptools' needs it: pip install httptools")
    factory = _Factory(seconds, FAST and http != "h11")
    return cast("type[asyncio.Protocol]", factory)
