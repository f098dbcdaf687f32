"""Stands between a client and the Redis server, and withholds answers."""

from __future__ import annotations

import socket
import ssl
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """A port that leads to the server; `port` is for clients.

    From `mute()` on, the connections that there are get no more answers; their commands
    still go through. With `port=None` nobody ever answers. With `tls` it speaks TLS.
    """

    def __init__(self, port: int | None, *, tls: ssl.SSLContext | None = None) -> None:
        self._server = port
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = threading.Semaphore(0)
        self.count = 0
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._pumps: list[threading.Thread] = []
        self._muted: set[socket.socket] = set()
        self.withheld = threading.Semaphore(0)  # one for each answer

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._accepting.join()
        self.cut()
        for thread in self._pumps:
            thread.join()
        for sock in (self._listener, *self._open):
            sock.close()

    def mute(self) -> None:
        """Withhold the answers to the connections that are open now."""
        self._muted.update(self._open)

    def cut(self) -> None:
        """Close all connections."""
        for sock in self._open:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.count += 1
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            self._open.append(client)
            self.accepted.release()
            if self._server is None:
                continue
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open.append(server)
            for pair in ((client, server), (server, client)):
                pump = threading.Thread(target=self._pump, args=pair, daemon=True)
                self._pumps.append(pump)
                pump.start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if target in self._muted and target.getsockname()[1] == self.port:
                    self.withheld.release()
                    continue
                target.sendall(data)
        except OSError:
            pass
        for sock in (source, target):
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass
