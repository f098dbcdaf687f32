"""tether.ext.uvicorn: the time for the head of a request."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.core.support import LONG
from tests.ext.service_processes import plain_uvicorn
from tests.ext.serving import Served, get, read, serve
from tether.ext.uvicorn import header_timeout

HEAD = b"GET /page HTTP/1.1\r\nHost: test\r\n"
SHORT = 0.3


async def app(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(params=["httptools", "h11"])
def served(request: pytest.FixtureRequest) -> Any:
    protocol = header_timeout(SHORT, request.param)
    with serve(app, (protocol, "asyncio")) as server:  # type: ignore[arg-type]
        yield server


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send it again and again until the server has had enough; its answer."""
    connection.settimeout(0.02)
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        try:
            connection.sendall(piece)
            return connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("it is never cut off")


def answered(connection: socket.socket) -> None:
    """Wait for the whole of a response."""
    received = b""
    while not received.endswith(b"\r\n\r\n0"):
        piece = connection.recv(65536)
        assert piece, received
        received += piece


def test_a_quick_request_is_served(served: Served) -> None:
    assert served.answer(get("/page")) == (200, b"0")


def test_a_head_in_pieces_is_served(served: Served) -> None:
    with served.ask(HEAD[:9]) as connection:
        for n in range(9, len(HEAD)):
            connection.sendall(HEAD[n : n + 1])
        connection.sendall(b"Connection: close\r\n\r\n")
        assert read(connection) == (200, b"0")


def test_a_dripping_head_is_cut_off(served: Served) -> None:
    with served.ask(HEAD) as connection:
        assert drip(connection, b"X: y\r\n").startswith(b"HTTP/1.1 408 ")
    assert served.answer(get("/page")) == (200, b"0")


def test_one_that_stops_in_the_middle_is_cut_off(served: Served) -> None:
    with served.ask(HEAD) as connection:
        assert read(connection) == (408, b"")


def test_a_connection_that_sends_nothing_is_closed_without_a_word(
    served: Served,
) -> None:
    with served.ask(b"") as connection:
        assert connection.recv(1) == b""


def test_empty_lines_are_no_head(served: Served) -> None:
    with served.ask(b"\r\n") as connection:
        assert drip(connection, b"\r\n")[:12] in {b"", b"HTTP/1.1 408", b"HTTP/1.1 400"}


def test_a_later_head_has_its_time_too(served: Served) -> None:
    with served.ask(HEAD + b"\r\n") as connection:
        answered(connection)
        assert drip(connection, b"G").startswith(b"HTTP/1.1 4")
    with served.ask(HEAD + b"\r\n") as connection:
        answered(connection)
        connection.sendall(HEAD)
        assert read(connection) == (408, b"")


def test_empty_lines_after_a_response_are_no_head(served: Served) -> None:
    with served.ask(HEAD + b"\r\n") as connection:
        answered(connection)
        drip(connection, b"\r\n")


def test_the_body_and_the_answer_have_as_long_as_they_like(served: Served) -> None:
    with served.ask(HEAD + b"Content-Length: 9\r\nConnection: close\r\n\r\n") as sender:
        for _ in range(9):
            time.sleep(SHORT / 4)
            sender.sendall(b"x")
        assert read(sender) == (200, b"9")


def test_pipelined_requests_are_served(served: Served) -> None:
    both = HEAD + b"\r\n" + get("/page")
    with served.ask(both[:-7]) as connection:
        time.sleep(SHORT / 4)
        connection.sendall(both[-7:])
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"200 OK") == 2


def test_it_is_given_to_plain_uvicorn_by_name(tmp_path: Path) -> None:
    options = ("--http", "tests.ext.service_apps:protocol")
    with plain_uvicorn(tmp_path, *options, times="drain=0") as served:
        assert served.answer("/quick") == (200, b'"quick"')
        with served.ask(HEAD) as connection:
            assert read(connection) == (408, b"")


@pytest.mark.parametrize(
    ("seconds", "http", "error"),
    [
        (0, "auto", ValueError),
        (-1.0, "auto", ValueError),
        (float("nan"), "auto", ValueError),
        (float("inf"), "auto", ValueError),
        (None, "auto", TypeError),
        (1.0, "zttp", ValueError),
    ],
)
def test_bad_arguments(seconds: Any, http: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        header_timeout(seconds, http)
