"""The HTTP server of the live page, in daemon threads of its own.

It shares nothing with the program's event loops, so it answers when they do not.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import traceback
import warnings
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, final
from urllib.parse import parse_qs, urlsplit

from . import _access, _signal, _sockets
from ._groups import OURS
from ._model import Look
from ._pprof import profile
from ._text import text
from ._watch import Watch, note_loop

Answer: TypeAlias = tuple[str, str | bytes]  # the kind of the body, and the body

_MOST = 60.0  # seconds that ?seconds= may ask for
_TWICE = (
    "the live page of this process is at {url} already: close() that one first, or "
    "use it"
)
_NO_PORT = "a port= is a whole number from 0 to 65535, or None: {port!r}"
_NO_HOST = (
    "the live page cannot listen on {host}: {why}; give host= a name or an address of "
    "this machine"
)
_NO_SOCKET = (
    "the live page is at its port alone, `tether top` does not find it without: {why}; "
    "give path= a place for its socket"
)
_TAKEN = (
    "the live page cannot listen on {host}:{port}: {why}; give another port=, or 0 for "
    "any that is free"
)

_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_NOWHERE = {errno.EADDRNOTAVAIL}
_PAUSE = 0.1  # seconds: who cannot be accepted stays in the queue, and would be a spin

_lock = threading.Lock()
_current: Server | None = None


def serve(
    port: int | None = 6060,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    path: str | os.PathLike[str] | None = None,
    signal: bool = False,
) -> Server:
    """The live page of this process: tasks, threads, contexts, and who holds what.

    It listens on `host` and `port` (0: any that is free; None: on no port), and on a
    unix socket for `tether top`: at `path`, by default in a folder of this user's.
    Threads of its own answer, also while an event loop is stuck. Contexts that are
    older than the call are on it as well. With `signal=True`, SIGUSR2 writes the same
    as text until the page is closed, and then does nothing; see `on_signal`.

    Whoever is not on this machine needs the `token`, 16 characters or more: without
    one, a `host` that others can reach is refused (`ValueError`). `RuntimeError` if the
    page is open already, `OSError` if the port or the path is taken. If only the folder
    for the socket cannot be used, a `RuntimeWarning` says so, and the port does.

        >>> from tether import debug
        >>> with debug.serve(port=0) as page:
        ...     print(page.url.startswith("http://127.0.0.1:"))
        True
    """
    global _current
    _access.check(host, token)
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise TypeError(_NO_PORT.format(port=port))
    if port is not None and not 0 <= port < 65536:
        raise ValueError(_NO_PORT.format(port=port))
    note_loop()
    with _lock:
        if _current is not None and _current.pid == os.getpid():
            raise RuntimeError(_TWICE.format(url=_current.url))
        page = _current = Server(port, host, token, path)
    if signal:
        page._signals = _signal.answer()
    return page


@final
class Server:
    """What `serve` returns. As a context manager it is closed at the end."""

    def __init__(
        self,
        port: int | None,
        host: str,
        token: str | None,
        path: str | os.PathLike[str] | None,
    ) -> None:
        self.pid = os.getpid()
        """Of the process: in a forked child there is no page."""
        self.path: Path | None = None
        """The unix socket; None where there are none, or no folder could be used."""
        self._watch = Watch()
        self._signals = False  # whether it has them answered
        self._servers: list[_HTTP] = []
        self._host = host
        self._watch.open()
        try:
            _page()
            if port is not None:
                self._servers.append(_listen(host, port, self._watch, token))
            if hasattr(socket, "AF_UNIX"):
                self._listen_on_socket(path)
        except BaseException:
            for server in self._servers:
                server.server_close()
            self._watch.close()
            raise
        for server in self._servers:
            threading.Thread(
                target=server.serve_forever, name=OURS, daemon=True
            ).start()

    def _listen_on_socket(self, path: str | os.PathLike[str] | None) -> None:
        """On the socket. A port alone will do, if no folder was asked for."""
        try:
            if path is not None:
                self.path = Path(path)
                sock = _sockets.bind(self.path)
            else:
                self.path, sock = _sockets.listen()
        except OSError as error:
            if path is not None or not self._servers:
                raise
            warnings.warn(_NO_SOCKET.format(why=error), RuntimeWarning, stacklevel=4)
        else:
            self._servers.append(_HTTP(sock, self._watch, None, local=True))

    @property
    def port(self) -> int | None:
        """The port it listens on; None: on none."""
        for server in self._servers:
            if not server.local:
                return int(server.server_address[1])
        return None

    @property
    def url(self) -> str:
        """Where the page is, for a browser; the socket if it listens on no port."""
        if self.port is None:
            return f"unix:{self.path}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/"

    def look(self) -> Look:
        """What the page would show now."""
        return self._watch.look()

    def close(self) -> None:
        """End it. Again: nothing."""
        global _current
        with _lock:
            if _current is self:
                _current = None
            servers, self._servers = self._servers, []
        if not servers:
            return
        for server in servers:
            if self.pid == os.getpid():
                server.shutdown()
            server.server_close()
        if self._signals:
            _signal.ignore()
        self._watch.close()
        if self.path is not None and self.pid == os.getpid():
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def _listen(host: str, port: int, watch: Watch, token: str | None) -> _HTTP:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        if os.name == "posix":  # elsewhere it lets two listen on one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(16)
    except OSError as error:
        sock.close()
        nowhere = isinstance(error, socket.gaierror) or error.errno in _NOWHERE
        text = _NO_HOST if nowhere else _TAKEN
        said = text.format(host=host, port=port, why=error.strerror or error)
        raise OSError(error.errno, said) from None
    except BaseException:
        sock.close()
        raise
    return _HTTP(sock, watch, token, local=False)


class _HTTP(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, sock: socket.socket, watch: Watch, token: str | None, *, local: bool
    ) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.server_address = sock.getsockname()
        self.watch = watch
        self.token = token
        self.local = local  # a unix socket: its file says who may
        self.closing = threading.Event()
        self._spares = threading.Lock()  # clients are served in threads
        self._spare: socket.socket | None = None
        self._keep_one()

    def shutdown(self) -> None:
        self.closing.set()
        super().shutdown()

    def server_close(self) -> None:
        super().server_close()
        self._give_one()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A client. Also of a process that has used up its descriptors: it is sick."""
        try:
            sock, address = self.socket.accept()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not self._give_one():
                self.closing.wait(_PAUSE)
                raise
            sock, address = self.socket.accept()
        return sock, address or ("local", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; in this one, in a process that can start no more."""
        serve = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=OURS,
            daemon=True,
        )
        try:
            serve.start()
        except RuntimeError:
            self.process_request_thread(request, client_address)

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        if not self.closing.is_set():
            self._keep_one()

    def _keep_one(self) -> None:
        """A descriptor for the time when there is no other."""
        with self._spares:
            if self._spare is None:
                with suppress(OSError):
                    self._spare = socket.socket()

    def _give_one(self) -> bool:
        with self._spares:
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
        return spare is not None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "tether"
    sys_version = ""
    timeout = 30.0  # type: ignore[mutable-override]

    def do_GET(self) -> None:
        try:
            parts = urlsplit(self.path)
        except ValueError:
            self._answer(400, "text/plain", "this is not a URL\n")
            return
        asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        server = self.server
        assert isinstance(server, _HTTP)
        port = 0 if server.local else int(server.server_address[1])
        refused = server.local or _access.refused(
            self.headers, server.token, asked.get("token"), port
        )
        if isinstance(refused, tuple):
            self._answer(refused[0], "text/plain", refused[1] + "\n")
            return
        path = parts.path.rstrip("/")
        face = _FACES.get(path)
        if face is None:
            paths = "\n".join(one or "/" for one in _FACES)
            self._answer(404, "text/plain", f"there is no {parts.path}, but\n{paths}\n")
            return
        if path in _PAGES:
            if "debug" not in asked:
                self._answer(200, "text/html", _page())
                return
        elif asked.get("debug", "0") != "0" and face in {_tasks, _threads}:
            face = _text  # as Go's ?debug=1
        seconds = asked.get("seconds", "0")
        try:
            wait = float(seconds)
        except ValueError:
            wait = -1.0
        if not 0.0 <= wait <= _MOST:
            self._answer(400, "text/plain", f"seconds is from 0 to {_MOST:g}\n")
            return
        try:
            if wait:
                server.watch.look()
                server.closing.wait(wait)
            kind, body = face(server.watch.look())
        except Exception:
            # Better half an answer at night than a connection that is closed.
            said = f"the look has failed, please report it:\n{traceback.format_exc()}"
            self._answer(500, "text/plain", said)
            return
        self._answer(200, kind, body)

    def _answer(self, status: int, kind: str, body: str | bytes) -> None:
        if isinstance(body, str):
            body, kind = body.encode("utf-8", "replace"), f"{kind}; charset=utf-8"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src "
            "'unsafe-inline'; connect-src 'self'; img-src data:",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing: the program's own log is not the place."""


def _text(look: Look) -> Answer:
    return "text/plain", text(look)


def _json(look: Look) -> Answer:
    return "application/json", json.dumps(asdict(look))


def _tasks(look: Look) -> Answer:
    return "application/octet-stream", profile(look.tasks, look.at, "tasks")


def _threads(look: Look) -> Answer:
    return "application/octet-stream", profile(look.threads, look.at, "threads")


_FACES = {
    "": _text,
    "/debug/tether": _text,
    "/debug/tether.txt": _text,
    "/debug/tether.json": _json,
    "/debug/pprof": _text,
    "/debug/pprof/goroutine": _tasks,
    "/debug/pprof/tasks": _tasks,
    "/debug/pprof/threads": _threads,
}
_PAGES = {"", "/debug/tether", "/debug/pprof"}  # for a browser


@cache  # as opening it may need what the process has used up
def _page() -> str:
    return (files(__package__) / "page.html").read_text(encoding="utf-8")


def _in_a_forked_child() -> None:
    """Give up the places of the parent: nobody would answer there."""
    global _lock
    _lock = threading.Lock()
    if _current is not None:
        for server in _current._servers:
            server.server_close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
