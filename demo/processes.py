"""Starting and ending the servers, each a process of its own on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

READY_WITHIN = 30.0
GONE_WITHIN = 5.0


class DidNotStartError(Exception):
    """A server ended, or said nothing, before it answered."""


@contextmanager
def server(app: str, **environment: str) -> Iterator[int]:
    """A uvicorn with this application, ready; gives its port."""
    port = _free_port()
    # What it says goes to a file, not to a pipe: nobody reads while it runs, and a
    # server that fails much would block.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", app),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--log-level", "error", "--timeout-graceful-shutdown", "1"),
            ],
            cwd=Path(__file__).parents[1],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        try:
            _wait_until_ready(app, process, port, said)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=GONE_WITHIN)
            except subprocess.TimeoutExpired:
                # Threads that nobody can stop keep the process: a finding, too.
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(
    app: str, process: subprocess.Popen[bytes], port: int, said: IO[bytes]
) -> None:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            said.seek(0)
            raise DidNotStartError(f"{app} ended at its start:\n{said.read().decode()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise DidNotStartError(f"{app} did not answer within {READY_WITHIN:g} s")
