"""Service: an application that stops in order."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import cast

from tether import Scope
from tether._checks import seconds_

from ._life import Life
from ._middleware import ContextMiddleware
from ._stop import Stop
from ._types import ASGIApp, Connection, Message, Receive, Send

READY = 200, b"ready\n"
NOT_READY = 503, b"stopping\n"
Headers = Iterable[tuple[bytes, bytes]]


class Service:
    """An ASGI application around `app` that a signal stops in order.

        app = Service(ContextMiddleware(FastAPI(), timeout=30.0))

    For `uvicorn app` and servers like it; what is no `ContextMiddleware` is wrapped in
    one. From SIGTERM on

    1. `readyz` answers 503; all else is served, for `drain` seconds, and asks its
       client to close the connection. SIGINT skips this;
    2. the server accepts no more; requests, websockets and detached work
       (`WaitGroup.go_with`) have `grace` seconds to end by themselves;
    3. the root of all requests is canceled, with a `tether.signals.Signaled` as its
       cause. Requests end, with 503 if they have not begun to answer, within `hard`
       seconds, detached work within `detached`;
    4. the application gets its `lifespan.shutdown`, and the server ends.

    What is cut off in step 3 is named on the logger `tether` before. What is still
    there after step 4 is named as well, and the process leaves with the status 128 + n
    of signal n. A second signal leaves at once, with that same status.

    The times are in seconds. `readyz` is the path of the probe, None for none; `ready`
    says the same to a probe of your own. The root is derived from the middleware's
    `base`. The application's lifespan is not below it: what is opened there, pools and
    groups with workers, stays until step 4.

    It needs the lifespan events of its server, and the main thread for the signals;
    without them it is the application it was.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        drain: float = 3.0,
        grace: float = 12.0,
        hard: float = 3.0,
        detached: float = 8.0,
        readyz: str | None = "/readyz",
    ) -> None:
        if not callable(app):
            raise TypeError(f"app is an ASGI application, not {app!r}")
        if readyz is not None and not str(readyz).startswith("/"):
            raise ValueError(f"readyz is a path, as /readyz, or None, not {readyz!r}")
        self.app = app if isinstance(app, ContextMiddleware) else ContextMiddleware(app)
        self.drain = _time("drain", drain)
        self.grace = _time("grace", grace)
        self.hard = _time("hard", hard)
        self.detached = _time("detached", detached)
        self.readyz = readyz
        self.ready = True
        self._probe = readyz or "\n"  # what no path ends in
        self._base = self.app.base

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """What the server calls."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(scope, receive, send)
            return
        if kind == "http":
            if not self.ready:
                send = _closing(scope, send)
            path = cast("str", scope["path"])
            if path.endswith(self._probe) and self._is_probe(path, scope):
                await _tell_probe(send, *(READY if self.ready else NOT_READY))
                return
        await self.app(scope, receive, send)

    def _is_probe(self, path: str, scope: Connection) -> bool:
        # Servers put the path of a mount in front, and the probe may not know it.
        return path in {self.readyz, f"{scope.get('root_path', '')}{self.readyz}"}

    async def _live(self, scope: Connection, receive: Receive, send: Send) -> None:
        root: Scope = self._base.with_cancel()
        stop = Stop(self, root)
        self.app.base = root
        self.ready = True
        try:
            await Life(self.app, stop, receive, send).run(scope)
        finally:
            stop.close()
            self.app.base = self._base

    # -- what the stop asks and tells ----------------------------------------------

    def in_flight(self) -> list[str]:
        """One line for each request and websocket that is not over."""
        return self.app.in_flight()

    def unready(self) -> None:
        """Let `readyz` answer 503, and each response close its connection."""
        self.ready = False

    def ending(self) -> None:
        """Let the requests that still come be answered 503 from the start."""
        self.app.ask_base()


def _time(name: str, value: float) -> float:
    seconds = seconds_(name, value)
    if seconds < 0.0:
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return seconds


async def _tell_probe(send: Send, status: int, body: bytes) -> None:
    # Not as a request is answered: it has no context, no time and no id.
    length = b"%d" % len(body)
    headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _closing(scope: Connection, send: Send) -> Send:
    """Have the client go elsewhere with its next request (in HTTP/2 by other means)."""
    if not str(scope.get("http_version")).startswith("1"):
        return send

    def close(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = cast("Headers", message.get("headers", ()))
            kept = [one for one in headers if one[0].lower() != b"connection"]
            message = {**message, "headers": [*kept, (b"connection", b"close")]}
        return send(message)

    return close
