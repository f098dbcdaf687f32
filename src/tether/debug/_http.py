"""The requests to the live page, each in a thread of its own, and their answers."""

from __future__ import annotations

import errno
import json
import socket
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from . import _access
from ._groups import OURS
from ._model import Look
from ._pprof import profile
from ._text import text
from ._watch import Watch

Answer: TypeAlias = tuple[str, str | bytes]  # the kind of the body, and the body

_MOST = 60.0  # seconds that ?seconds= may ask for
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE = 0.1  # seconds: who cannot be accepted stays in the queue, and would be a spin


class HTTP(ThreadingHTTPServer):
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
        assert isinstance(server, HTTP)
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
                self._answer(200, "text/html", page())
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
def page() -> str:
    return (files(__package__) / "page.html").read_text(encoding="utf-8")
