"""`tether serve` is stopped while clients are at it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.support import LONG
from tests.ext.service_processes import Process, serving
from tests.ext.serving import get, until


class Load:
    """Clients as behind a balancer: they go on for as long as the service is ready."""

    def __init__(self, served: Process, most: int) -> None:
        self.served = served
        self.left = most
        self.ready = True
        self.answered = 0
        self.dropped: list[str] = []
        self._lock = threading.Lock()

    def _next(self) -> bool:
        with self._lock:
            self.left -= 1
            return self.left >= 0

    def _note(self, outcome: bytes, how: str) -> bool:
        """Count an answer; whether the connection may be used again."""
        with self._lock:
            if b"200 OK" in outcome and outcome.endswith(b'"moment"'):
                self.answered += 1
            else:
                self.dropped.append(f"{how}: {outcome!r}")
        return b"connection: close" not in outcome

    def balancer(self) -> None:
        while self.served.answer("/readyz")[0] == 200:
            pass
        self.ready = False

    def new_connections(self) -> None:
        while self.ready and self._next():
            with self.served.ask(b"") as connection:
                self._note(whole(connection, get("/moment")), "new")

    def kept_connections(self) -> None:
        while self.ready and self._next():
            with self.served.ask(b"") as connection:
                while self._note(whole(connection, KEEP), "kept") and self._next():
                    pass


KEEP = b"GET /moment HTTP/1.1\r\nHost: test\r\n\r\n"


def whole(connection: socket.socket, request: bytes) -> bytes:
    """Its response, as far as it comes."""
    received = b""
    try:
        connection.sendall(request)
        while not received.endswith(b'"moment"'):
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
    except ConnectionError as exc:
        return received + repr(exc).encode()
    return received


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nothing_that_was_accepted_is_dropped_under_load(
    tmp_path: Path, workers: str
) -> None:
    options = ("--workers", workers, "--drain", "1", "--grace", "60")
    with serving(tmp_path, *options) as served:
        load = Load(served, most=10_000)
        works: list[Callable[[], None]] = [load.new_connections, load.kept_connections]
        works = [*works * 6, load.balancer]
        clients = [threading.Thread(target=work) for work in works]
        for client in clients:
            client.start()
        until(lambda: load.answered > 100, "they are at it", LONG)
        served.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(LONG)
        assert served.end() == 0
    assert load.left > 0, "the load ended before the service did"
    assert not load.dropped
    assert load.answered > 100
