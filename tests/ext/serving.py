"""A real uvicorn in a thread of the test."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

# Which parser and which loop of uvicorn's.
STACKS = [("httptools", "uvloop"), ("h11", "asyncio")]


class Problems(logging.Handler):
    """Keeps what the server logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


class Served:
    """A served application."""

    def __init__(self, port: int, problems: Problems) -> None:
        self.port = port
        self.problems = problems

    def ask(self, request: bytes) -> socket.socket:
        """A connection on which the request has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10.0)
        connection.sendall(request)
        return connection

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of a request that closes its connection."""
        with self.ask(request) as connection:
            return read(connection)

    def has_logged(self, text: str) -> None:
        """Wait for an error with this text: Starlette answers before it is logged."""
        until(lambda: any(text in said for said in self.problems.said), "it is logged")


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read(connection: socket.socket) -> tuple[int, bytes]:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body


@contextmanager
def serve(app: Any, stack: tuple[str, str] = STACKS[0]) -> Iterator[Served]:
    problems = Problems()
    http, loop = stack
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=http, loop=loop, log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    logger = logging.getLogger("uvicorn")
    logger.addHandler(problems)
    thread.start()
    try:
        until(lambda: server.started, "the server starts")
        yield Served(listener.getsockname()[1], problems)
    finally:
        server.should_exit = True
        thread.join(15.0)
        listener.close()
        logger.removeHandler(problems)
        assert not thread.is_alive()


def until(condition: Callable[[], object], what: str, within: float = 10.0) -> None:
    """Wait for something that another thread or process will do."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {what}"
        time.sleep(0.002)
