"""What the tests of processes share: to know when one is ready, and what still lives."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0

# Five processes: two shells, three that sleep. The inner shell tells when all are there.
TREE = "sleep 600 & sleep 600 & sh -c 'sleep 600 & echo > \"$READY\"; wait' & wait"


def python(code: str) -> list[str]:
    """A command that runs this Python code."""
    return [sys.executable, "-u", "-c", code]


class Watch:
    """Tells when a command is ready, and what lives of all that it has started.

    The command gets `env`: READY is a pipe into which it writes a line when it is
    ready, TAG is what its descendants are found by.
    """

    def __init__(self, folder: Path) -> None:
        self._pipe = folder / "ready"
        os.mkfifo(self._pipe)
        self.tag = str(folder)
        self.env = {**os.environ, "READY": str(self._pipe), "TAG": self.tag}

    def wait(self) -> None:
        """Wait until the command says that it is ready."""
        self._pipe.read_text(encoding="utf-8")

    def then(self, do: Callable[[], object]) -> threading.Thread:
        """Do something in a thread when it is ready."""

        def act() -> None:
            self.wait()
            do()

        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        return thread

    def alive(self) -> list[int]:
        """The processes that live, beside zombies."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                    state = (entry / "stat").read_bytes().rsplit(b") ", 1)[1][:1]
                except OSError:
                    continue
                if f"TAG={self.tag}\0".encode() in environ and state != b"Z":
                    found.append(int(entry.name))
        return found

    def see(self, count: int) -> bool:
        """Whether so many live, waited for: what has just begun has no variables yet."""
        until = time.monotonic() + PATIENCE
        while len(self.alive()) != count:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def kill(self) -> None:
        """End whatever still lives."""
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)
