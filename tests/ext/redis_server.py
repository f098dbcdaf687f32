"""A Redis server of the tests' own: installed if need be, started once, empty.

It ends with the process that has started it, however that ends: a shell holds it, which
waits for the end of its own input.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

PATIENCE = 60.0
HOLD = '"$@" & trap "kill -KILL $!; wait" EXIT; read -r _'  # it may be stopped, or busy
INSTALL = ["apt-get", "-o", "DPkg::Lock::Timeout=200", "-qq", "-y"]


class ServiceError(Exception):
    """There is no Redis server to be had; the message says why."""


@cache
def binary() -> str:
    """The program; it is installed where that is possible."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is not None:
        return found
    # RUNLEVEL: the package shall not start a server of its own.
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    said = ""
    for step in (["update"], ["install", "--no-install-recommends", "redis-server"]):
        try:
            done = subprocess.run(
                [*INSTALL, *step],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        except OSError as exc:
            said = str(exc)
        else:
            said = done.stdout.strip().rpartition("\n")[2]
    found = shutil.which("redis-server")
    if found is None:
        raise ServiceError(
            "these tests need a Redis server: no redis-server on the path, and "
            f"apt-get install redis-server failed ({said})"
        )
    return found


class Server:
    """A running server; `path` is its socket, `port` the same on loopback."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.path = str(self._folder / "socket")
        self.port = _free_port()
        self.url = f"unix://{self.path}"
        self._log = self._folder / "log"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.path,
            "dir": str(self._folder),
            "logfile": str(self._log),
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "yes",
        }
        words = [word for name in options for word in (f"--{name}", options[name])]
        self._shell = subprocess.Popen(
            ["sh", "-c", HOLD, "sh", binary(), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.stop)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        log = self._log.read_text(encoding="utf-8") if self._log.exists() else ""
        self.stop()
        raise ServiceError(f"the Redis server does not answer; its log: {log}")

    def stop(self) -> None:
        """End it, and remove what it has left."""
        if self._shell.stdin is not None:
            self._shell.stdin.close()
        self._shell.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@cache
def server() -> Server:
    """The server of this process."""
    return Server()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
