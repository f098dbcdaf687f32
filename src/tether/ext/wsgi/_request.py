"""One request: its response, its client, and the end of both.

What must hold:

1. The scope is entered before the application is called, and left when the server
   closes the response; at once when nothing of the application is left to run: a list,
   a file, an error. A response that the server drops without closing it leaves its
   scope when it is collected.
2. A request that ends within some milliseconds pays for being put into a set, and
   taken out. Only a longer one is watched.
3. What is current is so while code of the application runs, not in between: there the
   server is at work, or a test that keeps a response open.
4. A socket is watched for no longer than its request lasts.
5. The server hears of a response when its first piece is there, not before. So there
   can be a 504 in place of one that was announced and then took too long. (PEP 3333
   has a second `start_response` for this, but gunicorn adds its headers to the first.)
6. The lookout runs in the thread of the shared timers: it does not raise or wait.
7. A finalizer takes no lock.

Three kinds of servers: those that leave the request's socket in the environment
(gunicorn, werkzeug); waitress, which has a function to ask; and the others, where there
is the timeout alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from errno import EPIPE
from typing import TYPE_CHECKING, Any, TypeAlias, cast, final

from tether import (
    ClientDisconnected,
    Context,
    ContextError,
    DeadlineExceeded,
    Scope,
    _clock,
)
from tether._clock import INF
from tether._current import Pending
from tether._current import var as current
from tether._route import CONTEXT
from tether._timers import threads as timers

from . import _sockets
from ._frameworks import crashes

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

Headers: TypeAlias = list[tuple[str, str]]

# A request that ends sooner is not watched. The look is once in as much time, so
# watching begins after one to two of it; and as often is asked where nothing tells.
QUICK = 0.015
NAME = "x-request-id"
TOO_LATE = "504 Gateway Timeout", b"The request took too long.\n"


def turn_away(
    environ: WSGIEnvironment, start_response: StartResponse, ident: str
) -> Iterable[bytes]:
    """Answer a request whose time was over when it came."""
    status, body = TOO_LATE
    start_response(status, [*_plain(body), ("X-Request-ID", ident)])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _plain(body: bytes) -> Headers:
    length = str(len(body))
    return [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", length)]


@final
class Request:
    """What stands between the application and the server during one request."""

    # Most requests change few of these.
    begun = False  # the server has been told of the response
    instead: bytes | None = None  # sent in place of the application's body
    gone = False  # the client has left
    seen = False  # by the lookout, once
    _head: tuple[str, Headers] | None = None  # what the server is to be told
    _ended = False  # never to be watched again
    _socket: int | None = None  # the descriptor that is watched
    _asks: Callable[[], object] | None = None  # whether the client has left

    def __init__(
        self,
        ctx: Scope,
        above: Context | None,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        ident: str = "",
    ) -> None:
        self.ctx = ctx
        self._ident = ident  # "" of one inside another, which leaves that to it
        self._above = above
        self._environ = environ
        self._server_start = start_response
        environ[CONTEXT] = ctx
        crashes[ctx] = None
        if above is None:  # else the one outside is watched
            _lookout.add(self)

    # -- the response ----------------------------------------------------------

    def start_response(
        self, status: str, headers: Headers, exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """What the application calls."""
        if self.begun:
            return self._server_start(status, headers, exc_info)
        if self._head is not None and not exc_info:
            raise AssertionError("start_response() was called already")
        crash = crashes.get(self.ctx)
        if crash is not None and status.startswith("500"):
            self._answer(crash.kind)
        else:
            self._head = status, headers
        return self._write

    def _write(self, data: bytes) -> None:
        if self.instead is None:
            self.begin()
            self._server_write(data)

    def begin(self) -> None:
        """Tell the server of the response, if it does not know."""
        if not self.begun:
            self.begun = True
            if self._head is not None:  # else the server complains
                status, headers = self._head
                if self._ident and not any(n.lower() == NAME for n, _ in headers):
                    headers = [*headers, ("X-Request-ID", self._ident)]
                self._server_write = self._server_start(status, headers)

    def refuse(self, exc: ContextError) -> None:
        """The application raised the end of its context: answer in its place."""
        if self.begun:
            raise self.cut() from exc
        self._answer(type(exc))

    def _answer(self, kind: type[ContextError]) -> None:
        if issubclass(kind, DeadlineExceeded):
            status, body = TOO_LATE
        elif self.gone:  # for the access log
            status, body = "499 Client Closed Request", b""
        else:
            status, body = "503 Service Unavailable", b"The request was stopped.\n"
        self._head = status, _plain(body)
        self.instead = b"" if self._environ["REQUEST_METHOD"] == "HEAD" else body

    def cut(self) -> Exception:
        """What makes the server close the connection, and is no crash to it."""
        text = "the response was cut off: its context is over"
        waitress = sys.modules.get("waitress.channel")
        if waitress is not None and "waitress.client_disconnected" in self._environ:
            return cast(Exception, waitress.ClientDisconnected(text))
        return BrokenPipeError(EPIPE, text)

    # -- the client ------------------------------------------------------------

    def look(self) -> bool:
        """The request is not a quick one: watch it; whether to look again."""
        with _sockets.lock:
            if self._ended:
                return False
            if self._asks is None:
                self._watch()
            if self._asks is None:
                return False
            gone = self._asks()
        if gone:
            self.hang_up()
        return not gone

    def _watch(self) -> None:
        environ = self._environ
        self._asks = environ.get("waitress.client_disconnected")
        sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        if self._asks is None and sock is not None:
            try:
                self._socket = sock.fileno()
                self._asks = _sockets.watch(self, self._socket)
            except (OSError, ValueError, RuntimeError):
                pass  # closed already; or no more descriptors, or no thread

    def hang_up(self) -> None:
        """The client has left."""
        self.gone = True
        self.ctx.cancel(ClientDisconnected())

    def unwatch(self) -> None:
        """The response is complete, or nobody will ask for the rest."""
        _lookout.discard(self)
        with _sockets.lock:
            self._ended = True
            if self._socket is not None:
                _sockets.forget(self, self._socket)

    def end(self) -> None:
        """Leave the scope, once nothing of the application runs any more."""
        if not self._ended:
            self.unwatch()
        self._leave()

    def drop(self) -> None:
        """As `end()`, for a finalizer: without a lock."""
        _lookout.discard(self)
        self._ended = True
        self._leave()

    def _leave(self) -> None:
        crashes.pop(self.ctx, None)
        self._environ[CONTEXT] = self._above
        self.ctx.__exit__(None, None, None)


@final
class Body:
    """A response that the server has yet to go through."""

    _pieces: Iterator[bytes] | None = None
    _closed = False

    def __init__(
        self, request: Request, body: Iterable[bytes], outside: Context | Pending | None
    ) -> None:
        self._request = request
        self._body = body
        # What is current to the application: a block of its own may stay open between
        # two pieces.
        self._inside = current.get()
        current.set(outside)
        # A view that answers although its time is over may do so.
        self._whole = request.ctx.done()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        ctx = request.ctx
        # Not when the client is gone: it may be because it has all it wants.
        if request.begun and not self._whole and ctx.done() and not request.gone:
            raise request.cut() from ctx.err()
        piece: bytes | None = None
        token = current.set(self._inside)
        try:
            if self._pieces is None:
                self._pieces = iter(self._body)
            piece = next(self._pieces)
        except StopIteration:
            pass
        except ContextError as exc:
            if exc.ctx is not ctx:
                raise
            request.refuse(exc)
        finally:
            self._inside = current.get()
            current.reset(token)
        if not request.begun:
            request.begin()
            if request.instead is not None:
                piece, self._pieces, self._whole = request.instead, iter(()), True
        if piece is None:
            request.unwatch()
            raise StopIteration
        return piece

    def close(self) -> None:
        """The server wants no more; called once."""
        if self._closed:
            return
        self._closed = True
        token = current.set(self._inside)
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except ContextError as exc:  # of code that cleans up within the context
            if exc.ctx is not self._request.ctx:
                raise
        finally:
            self._request.end()
            current.reset(token)

    def __del__(self) -> None:
        if not self._closed:
            self._request.drop()


@final
class _Lookout:
    """Finds the requests that take longer, with one entry among the shared timers."""

    def __init__(self) -> None:
        self._young: set[Request] = set()
        self._armed = False
        self._deadline = INF
        self.discard = self._young.discard

    def add(self, request: Request) -> None:
        self._young.add(request)
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        with _sockets.lock:
            if self._armed:
                return
            self._armed = True
            self._deadline = _clock.now() + QUICK
        timers.add(self)

    def _due(self) -> None:
        for request in list(self._young):
            if not request.seen:
                request.seen = True
            elif not request.look():
                self._young.discard(request)
        self._armed = False
        if self._young:  # asked afterwards: who came meanwhile relied on this one
            self._arm()


_lookout = _Lookout()


def _forked() -> None:
    """In a child: the parent may have been in the middle of looking."""
    global _lookout
    _lookout = _Lookout()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
