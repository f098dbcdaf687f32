"""Real WSGI servers, each a process that serves tests/ext/wsgi_app.py."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from http.client import HTTPResponse
from pathlib import Path

from tests.ext.serving import until

ROOT = Path(__file__).resolve().parents[2]
CERTIFICATE = Path(__file__).with_name("localhost.pem")

APP = "tests.ext.wsgi_app"
GUNICORN = ["gunicorn", f"{APP}:application", "--no-control-socket"]
THREADS = ["--worker-class=gthread", "--threads=16"]

# The module to run and its arguments; {fd} is the listening socket. What is preloaded
# has served a request, and watched its client, before it forks.
SERVERS: dict[str, list[str]] = {
    "gunicorn-sync": [*GUNICORN, "--bind=fd://{fd}", "--workers=3"],
    "gunicorn-gthread": [*GUNICORN, "--bind=fd://{fd}", *THREADS, "--preload"],
    "gunicorn-gthread-tls": [
        *[*GUNICORN, "--bind=fd://{fd}", *THREADS],
        *[f"--certfile={CERTIFICATE}", f"--keyfile={CERTIFICATE}"],
    ],
    "werkzeug": [APP, "werkzeug", "{fd}"],
    "werkzeug-without-epoll": [APP, "werkzeug", "{fd}"],
    "waitress": [APP, "waitress", "{fd}"],
}


class Server:
    """A server's process, what it was told, and what it says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[str] = []  # what the views say
        self.log: list[str] = []
        self._tls: ssl.SSLContext | None = None
        if name.endswith("-tls"):
            self._tls = ssl.create_default_context(cafile=CERTIFICATE)
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            self.port = listener.getsockname()[1]
            fd = listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", *(arg.format(fd=fd) for arg in SERVERS[name])],
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
                    "WARM_UP": "1" if "--preload" in SERVERS[name] else "",
                    "WITHOUT_EPOLL": "1" if name.endswith("-epoll") else "",
                },
                pass_fds=[fd],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in (
                (self._process.stdout, self.events),
                (self._process.stderr, self.log),
            )
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: object, lines: list[str]) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            lines.append(line.rstrip("\n"))

    def stop(self) -> None:
        with self._process:
            self._process.send_signal(signal.SIGINT)  # gunicorn waits for nobody then
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            for reader in self._readers:
                reader.join(10.0)

    def ask(self, request: bytes) -> socket.socket:
        """A connection on which the request has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10.0)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(request)
        return connection

    def answer(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of a request without a body."""
        with self.ask(request(path, method)) as connection:
            return read(connection, method)

    def said(self, name: str) -> list[str]:
        """What was noted under the name."""
        lines = [line.split(" ", 1) for line in [*self.events]]
        return [line[1] for line in lines if line[0] == name]

    def hears(self, name: str, what: str) -> None:
        """Wait for something to be noted."""
        until(lambda: what in self.said(name), f"{name}: {what}; {self.said(name)}")


def request(path: str, method: str = "GET", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read(connection: socket.socket, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of the next answer; IncompleteRead if it is cut off."""
    answer = HTTPResponse(connection, method=method)
    answer.begin()
    return answer.status, answer.read()
