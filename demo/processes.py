"""The processes of the demo: how one is started, looked at and ended.

None outlives the demo. A process is ended by us; if we cannot any more, because we were
killed, it notices by its standard input (see `demo.serve`). It has a session of its
own, so that Ctrl-C reaches us alone and we end the others in order.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PORTS = range(20_000, 32_000)  # below those that systems give to clients
PAGE = os.sysconf("SC_PAGE_SIZE")


class DidNotStartError(Exception):
    """A server ended, or said nothing, before it answered."""


class Child:
    """A process of ours: `python -m` with these words."""

    def __init__(
        self, *words: str, env: dict[str, str], log: Path, cores: set[int]
    ) -> None:
        self.name = " ".join(words)
        self._log = log
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.pid = self._process.pid
        if cores:
            os.sched_setaffinity(self.pid, cores)

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def memory(self) -> int:
        """The bytes it has in memory: what the limit of a container counts."""
        try:
            statm = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii")
        except OSError:
            return self._ask_ps()
        return int(statm.split()[1]) * PAGE

    def _ask_ps(self) -> int:
        """Where there is no /proc; 0 if it is gone."""
        command = ["ps", "-o", "rss=", "-p", str(self.pid)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        return int(said.stdout.strip() or 0) * 1024

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it here and now."""
        self._process.kill()
        self._process.communicate()  # closes the pipe as well

    def said(self) -> str:
        """The last of what it has logged."""
        return self._log.read_text(errors="replace")[-2000:]


_untried = iter(random.sample(PORTS, len(PORTS)))


def free_ports(count: int) -> list[int]:
    """So many ports that nobody uses now, none of which was given before."""
    found: list[int] = []
    while len(found) < count:
        port = next(_untried)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def halves() -> tuple[set[int], set[int]]:
    """The cores of this machine, half of them for each of two shops.

    So the one that is in trouble does not slow the other. Empty sets where that cannot
    be had.
    """
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return set(), set()
    middle = len(cores) // 2
    return set(cores[:middle]), set(cores[middle:])
