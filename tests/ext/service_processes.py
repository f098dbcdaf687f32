"""Servers that are processes of their own, which the tests stop by signals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.core.support import LONG
from tests.ext.serving import get, read, until

APPS = "tests.ext.service_apps"
# uvicorn raises the signal again when all is over; nothing else ends it so.
BY_SIGTERM = -15


class Process:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str], port: int, gate: Path) -> None:
        self.process = process
        self.port = port
        self.gate = gate
        self.said: list[str] = []  # by the application
        self.logged: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(process.stdout, self.said)),
            threading.Thread(target=self._read, args=(process.stderr, self.logged)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[str], into: list[str]) -> None:
        for line in pipe:
            into.append(line.rstrip())

    def open_gate(self) -> None:
        """Let the handlers that wait for it go on."""
        self.gate.touch()

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=LONG).close()
        except ConnectionError:
            return False
        return True

    def ask(self, request: bytes) -> socket.socket:
        """A connection on which the request has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=LONG)
        connection.sendall(request)
        return connection

    def answer(self, path: str, *headers: str) -> tuple[int, bytes]:
        with self.ask(get(path, *headers)) as connection:
            return read(connection)

    def until_said(self, line: str, times: int = 1) -> None:
        until(lambda: self.said.count(line) >= times, f"it says {line!r}", LONG)

    def until_deaf(self) -> None:
        until(lambda: not self.listens(), "it accepts no more", LONG)

    def end(self) -> int:
        """Its status; what it has said and logged is complete then."""
        status = self.process.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)
        return status

    @property
    def log(self) -> str:
        return "\n".join(self.logged)


@contextmanager
def process(folder: Path, *command: str, times: str = "") -> Iterator[Process]:
    """`python -m command` with a free port for PORT; killed with all of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    gate = folder / "gate"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "GATE": str(gate),
        "TIMES": times,
    }
    words = [word.replace("PORT", str(port)) for word in command]
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        served = Process(started, port, gate)
        try:
            yield served
        finally:
            try:
                os.killpg(started.pid, 9)
            except ProcessLookupError:
                pass  # it has ended, and its workers have
            served.end()


@contextmanager
def serving(folder: Path, *options: str, app: str = "api") -> Iterator[Process]:
    """`tether serve`, up."""
    command = (
        "tether",
        "serve",
        f"{APPS}:{app}",
        "--port",
        "PORT",
        "--no-access-log",
        *options,
    )
    with process(folder, *command) as served:
        until(served.listens, "it listens", LONG)
        yield served


@contextmanager
def plain_uvicorn(
    folder: Path, *options: str, app: str = "app", times: str = ""
) -> Iterator[Process]:
    """`uvicorn`, up."""
    command = (
        "uvicorn",
        f"{APPS}:{app}",
        "--port",
        "PORT",
        "--no-access-log",
        *options,
    )
    with process(folder, *command, times=times) as served:
        until(served.listens, "it listens", LONG)
        yield served
