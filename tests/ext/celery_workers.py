"""Workers of Celery as processes of their own, which end with whoever has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# All of it ends when the shell's input does, that is with the tests at the latest.
HOLD = '"$@" & read -r _; kill -KILL 0'


class Workers:
    """Some workers of an application with so many processes each."""

    def __init__(
        self, app: str, url: str, log: Path, workers: int, processes: int
    ) -> None:
        env = {**os.environ, "REDIS": url}
        words = [sys.executable, "-m", "celery", "-A", app]
        words += ["worker", "--concurrency", str(processes), "--loglevel", "INFO"]
        words += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with log.open("ab") as output:
            self._shells = [
                subprocess.Popen(
                    ["sh", "-c", HOLD, "sh", *words, "--hostname", f"w{number}@tests"],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for number in range(workers)
            ]

    def stop(self) -> None:
        for shell in self._shells:
            assert shell.stdin is not None
            shell.stdin.close()
            shell.wait()
