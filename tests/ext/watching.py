"""What a PostgreSQL is doing, seen from beside; and a line to it that can go dead."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from typing import Self

import psycopg

from demo.databases.server import Server
from tests.core.support import LONG, start

_numbers = count()


def mark(sql: str) -> tuple[str, str]:
    """The statement with a comment that is found again, and that comment."""
    name = f"mark-{next(_numbers)}-"
    return f"{sql} /* {name} */", name


class Watch:
    """One more session, for whichever thread has it."""

    def __init__(self, server: Server) -> None:
        self._conn = psycopg.connect(server.url, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()

    def run(self, sql: str) -> None:
        """Statements without rows."""
        self._conn.execute(sql)

    def value(self, sql: str) -> object:
        row = self._conn.execute(sql).fetchone()
        assert row is not None
        return row[0]

    def runs(self, name: str) -> bool:
        """Whether a marked statement is at work."""
        found = self.value(
            "select count(*) from pg_stat_activity where state = 'active' "
            f"and query like '%{name}%' and pid <> pg_backend_pid()"
        )
        return found != 0

    def until(self, name: str, runs: bool) -> None:
        """Wait until it runs, or does not."""
        until = time.monotonic() + LONG
        while self.runs(name) is not runs:
            assert time.monotonic() < until, f"{name}: still not {runs}"
            time.sleep(0.001)


@contextmanager
def once_it_runs(server: Server, name: str, do: Callable[[], object]) -> Iterator[None]:
    """Do it in a thread as soon as a marked statement is at work."""

    def body() -> None:
        with Watch(server) as watch:
            watch.until(name, runs=True)
            do()

    doing = start(body)
    yield
    doing.result(LONG)


class Line:
    """A way to the server through which nothing goes from a certain word on."""

    def __init__(self, server: Server, last: bytes) -> None:
        self._server = server
        self._last = last
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dead = threading.Event()
        self._open: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        for sock in (self._listener, *self._open):
            sock.close()

    def cut(self) -> None:
        """End all connections through it."""
        for sock in (self._listener, *self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server.port))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(
                    target=self._carry, args=(one, other), daemon=True
                ).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self._last in data:
                    self.dead.set()
                if not self.dead.is_set():
                    other.sendall(data)
        except OSError:
            return


@contextmanager
def table(server: Server, name: str, columns: str = "i int") -> Iterator[str]:
    """A table for one test."""
    with closing(psycopg.connect(server.url, autocommit=True)) as conn:
        conn.execute(f"create table {name} ({columns})")
        try:
            yield name
        finally:
            conn.execute("set lock_timeout = '30s'")  # nobody holds it by then
            conn.execute(f"drop table {name} cascade")
