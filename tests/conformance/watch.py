"""Ends a run that hangs, and says in which scenario and where."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from types import TracebackType
from typing import Self


class Watch:
    """While it is entered, a scenario that takes too long ends the process."""

    def __init__(self, limit: float = 60.0) -> None:
        self._limit = limit
        self._what = ""
        self._since = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def now(self, what: str) -> None:
        """Says what is played from now on."""
        self._what, self._since = what, time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.5):
            if time.monotonic() - self._since > self._limit:
                sys.stderr.write(f"{self._what}: hangs since {self._limit} s\n")
                faulthandler.dump_traceback(all_threads=True)
                sys.stderr.flush()
                os._exit(1)
