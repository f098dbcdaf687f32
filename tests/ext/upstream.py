"""A server on loopback that answers badly, in threads, on plain sockets.

What it does is in the path:

    /ok             "ok", and the connection stays open
    /echo           the request's headers as JSON
    /hang           nothing, ever
    /half           the head of a response, then nothing
    /drip           one byte of a long body every 20 ms
    /until-close    a body that ends with its connection, which stays open
    /chunks         a first chunk, then nothing
    /again          a redirect to itself, with a counter
    /busy           503 with Retry-After: 3600
    /upload         nothing is read after the head
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


class Upstream:
    """The server; `gone` has the paths whose client has left before the end."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.host = "localhost" if tls else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"
        self.connections = 0
        self.requests: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.gone: list[str] = []
        self._hooks: dict[str, Callable[[], object]] = {}
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def on(self, path: str, do: Callable[[], object]) -> None:
        """Have `do` called between a request for `path` and its answer."""
        self._hooks[path] = do

    def asked(self, path: str) -> None:
        """Wait until a request for `path` has come."""
        self._wait_for(path, self.requests)

    def left(self, path: str) -> None:
        """Wait until the client of a request for `path` has left."""
        self._wait_for(path, self.gone)

    def _wait_for(self, path: str, log: list[str]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: path in log, 10.0), (path, log)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        path = "?"
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with self._changed:
                self._open.add(connection)
            with connection:
                while True:
                    path, head = _read_head(connection)
                    with self._changed:
                        self.heads.append(head)
                        self.requests.append(path)
                        self._changed.notify_all()
                    self._hooks.get(path, int)()
                    if not self._answer(connection, path, head):
                        break
        except OSError:
            pass  # the client has left
        with self._changed:
            self._open.discard(connection)
            self.gone.append(path)
            self._changed.notify_all()

    def _answer(
        self, connection: socket.socket, path: str, head: dict[str, str]
    ) -> bool:
        """Whether the connection goes on."""
        if path.startswith("/ok"):
            _send(connection, b"" if head[":method"] == "HEAD" else b"ok")
        elif path.startswith("/echo"):
            _send(connection, json.dumps(head).encode())
        elif path.startswith("/again"):
            number = int(path.partition("?")[2] or 0)
            where = f"Location: /again?{number + 1}\r\n".encode()
            _send(connection, b"", status=b"302 Found", more=where)
        elif path.startswith("/busy"):
            _send(connection, b"", status=b"503 No", more=b"Retry-After: 3600\r\n")
        elif path.startswith("/drip"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
            for _ in range(10000):
                connection.sendall(b"x")
                time.sleep(0.02)
        else:
            beginning = {
                "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "/until-close": b"HTTP/1.0 200 OK\r\n\r\npartial",
                "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"5\r\nfirst\r\n",
            }
            connection.sendall(beginning.get(path.partition("?")[0], b""))
            if path.startswith("/upload"):
                self._wait_closed(connection)
            else:
                connection.recv(1)
            return False
        return True

    def _wait_closed(self, connection: socket.socket) -> None:
        # Reading would make room for more.
        while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1:
            time.sleep(0.002)


def _read_head(connection: socket.socket) -> tuple[str, dict[str, str]]:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionResetError
        data += byte
    lines = data.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in lines[1:] if line]
    method, path, _ = lines[0].split(" ")
    return path, {":method": method, **{name.lower(): value for name, value in pairs}}


def _send(
    connection: socket.socket,
    body: bytes,
    status: bytes = b"200 OK",
    more: bytes = b"",
) -> None:
    length = b"Content-Length: %d\r\n" % len(body)
    connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + length + more + b"\r\n" + body)


@contextmanager
def upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    server = Upstream(tls)
    try:
        yield server
    finally:
        server.close()


class Authority:
    """Signs for localhost."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        self.file = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.file)


@contextmanager
def deaf(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """The port of a listener that takes no connection any more: its queue is full."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()
