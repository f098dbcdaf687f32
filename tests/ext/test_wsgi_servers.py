"""ContextWSGI under real servers: each case for each server and each framework."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.ext.wsgi_serving import SERVERS, Server, read, request

CELLS = [
    (server, framework)
    for server in SERVERS
    for framework in ("raw", "flask", "django")
    # Without epoll the client is watched in another way; the rest is the same.
    if framework == "raw" or not server.endswith("-epoll")
]
pytestmark = pytest.mark.parametrize(
    ("server", "framework"), CELLS, indirect=["server"]
)
# Those that answer several requests of one connection.
KEEPING = {"gunicorn-gthread", "gunicorn-gthread-tls", "waitress"}

_names = (f"n{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = Server(name)
        return running[name]

    yield get
    for server in running.values():
        server.stop()
    for server in running.values():
        # Only what a view did wrong is an error to the server.
        log = "\n".join(server.log)
        assert log.count("Traceback") == log.count("KeyError: 'of the view'"), log
        assert not re.search(r"context \w+|cut off|BrokenPipe", log), log


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    return servers(request.param)


@pytest.fixture
def name() -> str:
    """Under which the views of this test write."""
    return next(_names)


def test_a_view_that_waits_ends_when_its_client_leaves(
    server: Server, framework: str, name: str
) -> None:
    connection = server.ask(request(f"/{framework}/wait?{name}"))
    server.hears(name, "began")
    connection.close()
    server.hears(name, "Canceled ClientDisconnected")
    server.hears(name, "over")


def test_a_client_that_closes_its_sending_side_has_left(
    server: Server, framework: str, name: str
) -> None:
    with server.ask(request(f"/{framework}/wait?{name}")) as connection:
        server.hears(name, "began")
        socket.socket.shutdown(connection, socket.SHUT_WR)  # below TLS
        server.hears(name, "Canceled ClientDisconnected")
        if server.name != "waitress":  # which sends nothing any more
            assert read(connection) == (499, b"")


def test_a_view_that_is_out_of_time_is_answered_504(
    server: Server, framework: str, name: str
) -> None:
    answer = server.answer(f"/{framework}-timed/wait?{name}")
    assert answer == (504, b"The request took too long.\n")
    server.hears(name, "DeadlineExceeded DeadlineExceeded")
    server.hears(name, "over")


def test_to_a_head_request_the_504_has_no_body(
    server: Server, framework: str, name: str
) -> None:
    assert server.answer(f"/{framework}-timed/wait?{name}", "HEAD") == (504, b"")


def test_a_view_that_is_stopped_otherwise_is_answered_503(
    server: Server, framework: str, name: str
) -> None:
    answer = server.answer(f"/{framework}/stopped?{name}")
    assert answer == (503, b"The request was stopped.\n")


def test_a_view_that_fails_is_answered_as_without_us(
    server: Server, framework: str, name: str
) -> None:
    assert server.answer(f"/{framework}/broken?{name}")[0] == 500


def test_a_stream_ends_when_its_client_leaves(
    server: Server, framework: str, name: str
) -> None:
    connection = server.ask(request(f"/{framework}/stream?{name}"))
    connection.recv(100)
    connection.close()
    server.hears(name, "over")
    # Or the server finds out first, as it writes.
    assert re.search("left (ClientDisconnected|NoneType)", "\n".join(server.said(name)))


def test_a_stream_out_of_time_before_its_first_piece_is_answered_504(
    server: Server, framework: str, name: str
) -> None:
    answer = server.answer(f"/{framework}-timed/late-stream?{name}")
    assert answer == (504, b"The request took too long.\n")
    server.hears(name, "over")


@pytest.mark.parametrize("view", ["cut-stream", "heedless-stream"])
def test_a_stream_out_of_time_later_is_cut_off(
    server: Server, framework: str, name: str, view: str
) -> None:
    with server.ask(request(f"/{framework}-timed/{view}?{name}")) as connection:
        with pytest.raises(http.client.IncompleteRead) as caught:
            read(connection)
        assert b"second" not in caught.value.partial
    server.hears(name, "over")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_bodies_arrive_whole_and_late(
    server: Server, framework: str, name: str, chunked: bool
) -> None:
    body = bytes(n % 251 for n in range(1_000_000))
    path = f"/{framework}/digest?{name}"
    if chunked:
        pieces = [body[n : n + 70_000] for n in range(0, len(body), 70_000)]
        encoded = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        whole = request(path, "POST", "Transfer-Encoding: chunked") + encoded
        whole += b"0\r\n\r\n"
    else:
        whole = request(path, "POST", f"Content-Length: {len(body)}") + body
    with server.ask(whole) as connection:
        status, answer = read(connection)
    assert (status, answer.decode()) == (200, hashlib.sha1(body).hexdigest())


def test_the_next_request_of_a_connection_is_no_disconnect(
    server: Server, framework: str, name: str
) -> None:
    # Both are there while the first waits; on the second the socket is watched again.
    ask = request(f"/{framework}/hold?{name}")
    with server.ask(ask + ask) as connection:
        assert read(connection) == (200, b"held")
        if server.name in KEEPING:
            assert read(connection) == (200, b"held")
            connection.sendall(request(f"/{framework}/wait?{name}"))
            server.hears(name, "began")
            connection.close()
            server.hears(name, "Canceled ClientDisconnected")


def test_who_stays_is_not_taken_for_who_leaves(
    server: Server, framework: str, name: str
) -> None:
    # Clients of the same descriptors, one after the other, some of which leave at the
    # worst moment: about when the server begins to watch them.
    answers = []

    def asks() -> None:
        for number in range(6):
            connection = server.ask(request(f"/{framework}/hold?{name}"))
            if number % 2:
                connection.settimeout(0.005 * number)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.close()
            else:
                answers.append(read(connection))
                connection.close()

    threads = [threading.Thread(target=asks) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(200, b"held")] * 12


def test_a_quick_request_has_its_label(
    server: Server, framework: str, name: str
) -> None:
    answer = server.answer(f"/{framework}/quick?{name}")
    route = "{view}" if framework == "flask" else "quick"  # Django has a line for it
    assert answer == (200, f"GET /{framework}/{route}".encode())
