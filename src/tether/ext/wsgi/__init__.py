"""WSGI: each request has a context that ends when its client goes away.

    app.wsgi_app = ContextWSGI(app.wsgi_app, timeout=30.0)           # Flask
    application = ContextWSGI(get_wsgi_application(), timeout=30.0)  # Django

In a view `tether.current()` is the request's scope, and still is while the server goes
through a streamed response. A view runs in a thread, where nothing can be interrupted
from outside: what ends is whatever was given the context.

`_request` is what happens during one request, `_sockets` how its client is watched,
`_frameworks` why Flask and Django do not log its end as a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tether import Context, ContextError, Scope, background
from tether._current import var as current

from ._frameworks import listen
from ._request import OUTER, Body, ClientDisconnected, Request

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ClientDisconnected", "ContextWSGI"]

ClientDisconnected.__module__ = __name__


class ContextWSGI:
    """A WSGI application around `app` that gives each request a context of its own.

    `timeout` is the time in seconds that a request may take, up to the last byte of its
    response; None for as long as its client waits. When that time is over and the view
    raises because of it, the answer is 504. A response that has begun is cut off.

    One inside another derives from it: 30 s for all, and 2 s for a part.
    """

    def __init__(self, app: WSGIApplication, timeout: float | None = None) -> None:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
        self.app = app
        self.timeout = timeout
        listen()

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """What the server calls."""
        above = environ.get(OUTER)
        ctx = self._context(above, environ)
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

    def _context(self, above: Context | None, environ: WSGIEnvironment) -> Scope:
        label = None
        if above is None:
            # From the root: a context that was current where the server was started is
            # not an ancestor of its requests.
            above, label = background(), _label(environ)
        if self.timeout is None:
            return above.with_cancel(label=label)
        return above.with_timeout(self.timeout, label=label)


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


def _label(environ: WSGIEnvironment) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    if not path.isascii():  # PEP 3333: bytes, one to a character
        path = path.encode("latin-1", "replace").decode("utf-8", "replace")
    label = f"{environ['REQUEST_METHOD']} {path}"
    if not label.isprintable():  # a path may hold line ends, and labels go to logs
        label = ascii(label)[1:-1]
    return label
