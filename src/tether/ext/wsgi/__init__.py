"""WSGI: each request has a context that ends when its client goes away.

    app.wsgi_app = ContextWSGI(app.wsgi_app, timeout=30.0)           # Flask
    application = ContextWSGI(get_wsgi_application(), timeout=30.0)  # Django

In a view `tether.current()` is the request's scope, and still is while the server goes
through a streamed response. It begins with what the caller has left and with its id, as
`tether.wire` reads them, and the response carries that id. It is named by the path, and
once Flask or Django (by `tether.ext.django`) has found the route by that.

A view runs in a thread, where nothing can be interrupted from outside: what ends is
whatever was given the context.

`_request` is what happens during one request, `_sockets` how its client is watched,
`_frameworks` what Flask and Django tell: a route, an end that looks like a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from tether import Context, ContextError, Scope, background
from tether._current import var as current
from tether._keys import wired
from tether._route import CONTEXT
from tether.wire import ACCEPTED, Arrived, Inbound

from ._frameworks import listen
from ._request import Body, Request, turn_away

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    Trust: TypeAlias = bool | Callable[[WSGIEnvironment], bool]

__all__ = ["ContextWSGI"]


class ContextWSGI:
    """A WSGI application around `app` that gives each request a context of its own.

    `timeout` is the time in seconds that a request may take, up to the last byte of its
    response; None for as long as its client waits. When that time is over and the view
    raises because of it, the answer is 504. A response that has begun is cut off.

    A caller that says how much time it has left (`tether.wire`, by one of the headers
    `accepted`) can only shorten that; one that has none to speak of is answered 504,
    and the application is not called. Where there is no `timeout`, `max_timeout` is the
    most that a caller can ask for. The request has the caller's `X-Request-ID`, or a
    new one, under `tether.wire.REQUEST_ID` and on its response. `trust`, True or a
    function of the environment, says whose other values are believed: those whose `Key`
    has a name on the wire. By default nobody's.

    One inside another derives from it: 30 s for all, and 2 s for a part. It does not
    read the headers again.
    """

    def __init__(
        self,
        app: WSGIApplication,
        timeout: float | None = None,
        *,
        max_timeout: float | None = None,
        trust: Trust = False,
        accepted: tuple[str, ...] = ACCEPTED,
    ) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        if not isinstance(trust, bool) and not callable(trust):
            raise TypeError(f"trust is True, False or a function, not {trust!r}")
        self.app = app
        self.timeout = timeout
        self.trust = trust
        self._inbound = Inbound(timeout, max_timeout, accepted=accepted)
        self._told = [(_variable(name), name.lower().encode()) for name in accepted]
        self._told.append((_variable("x-request-id"), b"x-request-id"))
        listen()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """What the server calls."""
        above = environ.get(CONTEXT)
        if above is None:
            arrived = self._arrived(environ)
            ident = arrived.request_id
            if arrived.timeout is not None and arrived.timeout <= 0.0:
                return turn_away(environ, start_response, ident)
            ctx = self._context(arrived, environ)
            request = Request(ctx, above, environ, start_response, ident)
        else:
            ctx = self._part(above)
            request = Request(ctx, above, environ, start_response)
        body: Iterable[bytes] = ()
        outside = current.get()
        try:
            try:
                ctx.__enter__()
                body = self.app(environ, request.start_response)
            except ContextError as exc:
                if exc.ctx is not ctx:
                    raise
                request.refuse(exc)
            if not _is_whole(body, environ):
                return Body(request, body, outside)
            request.begin()
        except BaseException:
            request.end()
            raise
        request.end()
        return body if request.instead is None else [request.instead]

    def _arrived(self, environ: WSGIEnvironment) -> Arrived:
        """What the caller says, as far as it is believed."""
        trust = self.trust
        trusted = trust if isinstance(trust, bool) else trust(environ) is True
        told = self._told
        if trusted:
            told = [*told, *((_variable(n.decode()), n) for n in [*wired])]
        headers = [
            (name, environ[variable].encode("latin-1"))
            for variable, name in told
            if variable in environ
        ]
        return self._inbound.read(headers, trusted=trusted)

    @staticmethod
    def _context(arrived: Arrived, environ: WSGIEnvironment) -> Scope:
        # From the root: a context that was current where the server was started is
        # not an ancestor of its requests.
        above, label = arrived.onto(background()), _label(environ)
        if arrived.timeout is None:
            return above.with_cancel(label=label)
        return above.with_timeout(arrived.timeout, arrived.cause, label=label)

    def _part(self, above: Context) -> Scope:
        if self.timeout is None:
            return above.with_cancel()
        return above.with_timeout(self.timeout)


def _is_whole(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether nothing of the application runs while the server sends this.

    Servers send a file by other means if they recognize what they made of it.
    """
    wrapper = environ.get("wsgi.file_wrapper")
    return (
        body.__class__ is list
        or body.__class__ is tuple
        or (isinstance(wrapper, type) and isinstance(body, wrapper))
    )


def _variable(name: str) -> str:
    """How PEP 3333 calls a header."""
    return "HTTP_" + name.upper().replace("-", "_")


def _label(environ: WSGIEnvironment) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if not path.isascii():  # PEP 3333: bytes, one to a character
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    label = f"{environ['REQUEST_METHOD']} {path}"
    if not label.isprintable():  # a path may hold line ends, and labels go to logs
        label = ascii(label)[1:-1]
    return label
