"""Every server with every framework in every case: the cells, and who fills them.

python -m tests.ext.matrix            # run them all and print the table
python -m tests.ext.matrix --write    # and put it into the docs
"""

from __future__ import annotations

import hashlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.ext.matrix_apps import FRAMEWORKS, SHORT
from tests.ext.serving import read, until

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "asgi.md"
BEGIN, END = "<!-- cells -->", "<!-- end of cells -->"

APP = "tests.ext.matrix_served:app"
SERVERS: dict[str, list[str]] = {
    "uvicorn, httptools, uvloop": [
        *("uvicorn", "--http", "httptools", "--loop", "uvloop", "--no-access-log"),
        *("--timeout-graceful-shutdown", "1", "--port", "PORT", APP),
    ],
    "uvicorn, h11, asyncio": [
        *("uvicorn", "--http", "h11", "--loop", "asyncio", "--no-access-log"),
        *("--timeout-graceful-shutdown", "1", "--port", "PORT", APP),
    ],
    "hypercorn": [
        *("hypercorn", "--graceful-timeout", "1", "-b", "127.0.0.1:PORT", APP)
    ],
    "granian": [
        *("granian", "--interface", "asgi", "--workers-kill-timeout", "1"),
        *("--port", "PORT", APP),
    ],
}

BODY = bytes(n % 251 for n in range(1_000_000))
numbers = itertools.count(1)


class Server:
    """A server process with all frameworks, and what it prints."""

    def __init__(self, name: str) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        words = [word.replace("PORT", str(self.port)) for word in SERVERS[name]]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return self.answer(b"GET", "raw", "quick")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(10.0)
        assert self.process.stdout is not None
        self.process.stdout.close()

    # -- talking to it ---------------------------------------------------------

    def path(self, framework: str, what: str, number: int) -> str:
        return f"/{[*FRAMEWORKS].index(framework)}/{what}/{number}"

    def ask(
        self, method: bytes, path: str, *headers: bytes, body: bytes = b""
    ) -> socket.socket:
        """A connection on which a request has been sent."""
        lines = [b"%s %s HTTP/1.1" % (method, path.encode()), b"Host: test"]
        lines += [b"Connection: close", *headers, b"", body]
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10.0)
        connection.sendall(b"\r\n".join(lines))
        return connection

    def answer(
        self,
        method: bytes,
        framework: str,
        what: str,
        *headers: bytes,
        body: bytes = b"",
        number: int = 0,
    ) -> tuple[int, bytes]:
        path = self.path(framework, what, number)
        with self.ask(method, path, *headers, body=body) as connection:
            return read(connection)

    def notes(self, number: int) -> list[str]:
        start = f"@ {number} "
        return [
            line.removeprefix(start) for line in self.said if line.startswith(start)
        ]


# -- the cases -------------------------------------------------------------------------


def disconnect_during_await(server: Server, framework: str) -> None:
    n = next(numbers)
    connection = server.ask(b"GET", server.path(framework, "slow", n))
    until(lambda: server.notes(n) == ["began"], "the handler begins")
    time.sleep(LONG_ENOUGH)
    connection.close()
    until(lambda: len(server.notes(n)) == 3, "it is interrupted")
    assert server.notes(n) == ["began", "interrupted", "over: ClientDisconnected"]


def disconnect_during_stream(server: Server, framework: str) -> None:
    n = next(numbers)
    connection = server.ask(b"GET", server.path(framework, "stream", n))
    until(lambda: server.notes(n) == ["began"], "the stream begins")
    assert connection.recv(100)
    connection.close()
    until(lambda: "over: ClientDisconnected" in server.notes(n), "it is over")


def disconnect_during_upload(server: Server, framework: str) -> None:
    n = next(numbers)
    path = server.path(framework, "upload", n)
    connection = server.ask(b"POST", path, b"Content-Length: 100", body=b"a half")
    time.sleep(LONG_ENOUGH)
    connection.close()
    until(lambda: server.notes(n), "it is over")
    assert server.notes(n) == ["over: ClientDisconnected"]


def websocket(server: Server, framework: str) -> None:
    n = next(numbers)
    path = server.path(framework, "ws", n)
    with connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None) as client:
        for text in ("one", "two"):
            client.send(text)
            assert client.recv(timeout=10.0) == text
        assert server.notes(n) == []
    until(lambda: server.notes(n), "it is over")
    assert server.notes(n) == ["over: ClientDisconnected"]


def no_websocket(server: Server, framework: str) -> None:
    path = server.path(framework, "ws", next(numbers))
    try:
        connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None)
    except (InvalidStatus, OSError, EOFError):
        return
    raise AssertionError("a websocket was accepted")


def background_task(server: Server, framework: str) -> None:
    n = next(numbers)
    status, _ = server.answer(b"GET", framework, "background", number=n)
    assert status == 200
    done = "background task done, deadline None"
    until(lambda: done in server.notes(n), "the background task ends")


def expect_digest(answer: tuple[int, bytes], body: bytes) -> None:
    assert answer[0] == 200, answer
    assert hashlib.sha1(body).hexdigest().encode() in answer[1]


def body_read_late(server: Server, framework: str) -> None:
    answer = server.answer(
        b"POST", framework, "digest", b"Content-Length: 4", body=b"late"
    )
    expect_digest(answer, b"late")


def body_of_1_mb(server: Server, framework: str) -> None:
    length = b"Content-Length: %d" % len(BODY)
    answer = server.answer(b"POST", framework, "digest", length, body=BODY)
    expect_digest(answer, BODY)


def body_in_chunks(server: Server, framework: str) -> None:
    path = server.path(framework, "digest", 0)
    with server.ask(b"POST", path, b"Transfer-Encoding: chunked") as connection:
        for _ in range(4):  # before and after the handler reads
            time.sleep(LONG_ENOUGH / 2)
            connection.sendall(b"5\r\nhello\r\n")
        connection.sendall(b"0\r\n\r\n")
        expect_digest(read(connection), b"hello" * 4)


def body_after_100_continue(server: Server, framework: str) -> None:
    path = server.path(framework, "digest", 0)
    headers = b"Content-Length: 4", b"Expect: 100-continue"
    with server.ask(b"POST", path, *headers) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"body")
        expect_digest(read(connection), b"body")


def deadline(server: Server, framework: str) -> None:
    n = next(numbers)
    began = time.monotonic()
    status, body = server.answer(b"GET", framework, "deadline", number=n)
    assert (status, b"too long" in body) == (504, True), (status, body)
    assert time.monotonic() - began < 10 * SHORT
    until(lambda: len(server.notes(n)) == 3, "it is over")
    assert server.notes(n) == ["began", "interrupted", "over: DeadlineExceeded"]


LONG_ENOUGH = 0.04  # for the listener to be there

CASES: dict[str, Callable[[Server, str], None]] = {
    "disconnect during await": disconnect_during_await,
    "disconnect during stream": disconnect_during_stream,
    "disconnect during upload": disconnect_during_upload,
    "websocket": websocket,
    "background task": background_task,
    "body read late": body_read_late,
    "body of 1 MB": body_of_1_mb,
    "body in chunks": body_in_chunks,
    "body after 100-continue": body_after_100_continue,
    "deadline": deadline,
}
NO_WEBSOCKETS = "ValueError: Django can only handle ASGI/HTTP connections"
# What a framework does not have: the case that shows it, and the reason.
LACKING = {
    ("django", "websocket"): (no_websocket, "none in Django: refused"),
}


@dataclass(frozen=True)
class Cell:
    server: str
    framework: str
    case: str

    def __str__(self) -> str:
        return f"{self.server} | {self.framework} | {self.case}"

    @property
    def word(self) -> str:
        """What stands in the table if it holds."""
        lacking = LACKING.get((self.framework, self.case))
        return "yes" if lacking is None else lacking[1]

    def run(self, server: Server) -> None:
        lacking = LACKING.get((self.framework, self.case))
        case = CASES[self.case] if lacking is None else lacking[0]
        case(server, self.framework)


CELLS = [
    Cell(server, framework, case)
    for server in SERVERS
    for framework in FRAMEWORKS
    for case in CASES
]


def start_all() -> dict[str, Server]:
    servers = {name: Server(name) for name in SERVERS}
    try:
        for name, server in servers.items():
            until(server.is_up, f"{name} is up", within=90.0)
    except BaseException:
        stop_all(servers)
        raise
    return servers


def stop_all(servers: dict[str, Server]) -> None:
    for server in servers.values():
        server.stop()


def crashes(server: Server) -> list[str]:
    """What a server has logged as a crash, without what Django says of websockets."""
    ends = [n for n, line in enumerate(server.said) if "Traceback (most" in line]
    logged = ["\n".join(server.said[n : n + 40]) for n in ends]
    return [text for text in logged if NO_WEBSOCKETS not in text]


def table(words: dict[Cell, str]) -> str:
    lines = ["| server | framework | " + " | ".join(CASES) + " |"]
    lines.append("| --- " * (2 + len(CASES)) + "|")
    for server in SERVERS:
        for framework in FRAMEWORKS:
            row = [words[Cell(server, framework, case)] for case in CASES]
            lines.append(f"| {server} | {framework} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> int:
    servers = start_all()
    words: dict[Cell, str] = {}
    try:
        for cell in CELLS:
            try:
                cell.run(servers[cell.server])
                words[cell] = cell.word
            except Exception as exc:
                words[cell] = f"NO: {type(exc).__name__}: {exc}".split("\n")[0]
                sys.stderr.write(f"{cell} {words[cell]}\n")
    finally:
        stop_all(servers)
    text = table(words)
    sys.stdout.write(f"{text}\n")
    failed = sum(word.startswith("NO") for word in words.values())
    if "--write" in sys.argv and not failed:
        page = PAGE.read_text(encoding="utf-8")
        head, _, rest = page.partition(BEGIN)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
    sys.stdout.write(f"{len(words) - failed} of {len(CELLS)} cells\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
