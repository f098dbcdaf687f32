"""Programs of their own, which the tests talk to by lines and by signals."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.core.support import LONG

# What every program begins with. `say` is how it tells that it has come somewhere.
PRELUDE = """
import asyncio, ctypes, os, signal, sys, threading, time
import tether
from tether import *

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines

def in_c(seconds):
    # Blocked outside of Python, where no handler runs.
    pipe = os.pipe()
    libc = ctypes.CDLL(None)
    libc.read(pipe[0], ctypes.create_string_buffer(1), 1)

if sys.argv[1:] == ["uvloop"]:
    from uvloop import new_event_loop as loop_factory
else:
    loop_factory = None
"""


@dataclass
class Child:
    """A program that runs."""

    process: subprocess.Popen[str]

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, *signals: int) -> None:
        for signum in signals:
            self.process.send_signal(signum)

    def end(self) -> tuple[int, list[str], str]:
        """Its status, the rest of what it said, and its errors."""
        out, err = self.process.communicate(timeout=LONG)
        return self.process.returncode, out.splitlines(), err


@contextmanager
def child(source: str, *args: str) -> Iterator[Child]:
    """Run a program; it is killed if the test leaves it running."""
    path = [entry for entry in sys.path if entry]
    with subprocess.Popen(
        [
            sys.executable,
            "-W",
            "default",
            "-c",
            PRELUDE + textwrap.dedent(source),
            *args,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    ) as process:
        try:
            yield Child(process)
        finally:
            if process.poll() is None:
                process.kill()
