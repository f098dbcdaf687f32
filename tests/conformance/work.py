"""What runs beside the script of one scenario, and the log that it keeps."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

Event = list[object]


class Log:
    """The events since the last look, with the clock at which they happened."""

    def __init__(self, now: Callable[[], float | int]) -> None:
        self._now = now
        self._events: list[Event] = []
        self._lock = threading.Lock()

    def note(self, kind: str, *what: object) -> None:
        """Adds an event that happens now."""
        with self._lock:
            self._events.append([self._now(), kind, *what])

    def take(self) -> list[Event]:
        """The events since the last call, in the order that FORMAT.md gives them."""
        with self._lock:
            events, self._events = self._events, []
        return sorted(events, key=_order)


def _order(event: Event) -> tuple[float, str]:
    when = event[0]
    assert isinstance(when, (int, float))
    return when, json.dumps(event[1:], separators=(",", ":"))


class Work:
    """Everything that runs beside the script: who is at it, and what went wrong."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self._running: dict[object, str] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, what: str, function: Callable[[], object]) -> None:
        """Runs the function in a thread of its own."""
        token = self.began(what)
        thread = threading.Thread(
            target=self._run, args=(token, function), name=what, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def run(self, what: str, function: Callable[[], object]) -> None:
        """Runs the function here, as work."""
        self._run(self.began(what), function)

    def began(self, what: str) -> object:
        """Counts a piece of work as running, until `ended` is told."""
        token = object()
        with self._lock:
            self._running[token] = what
        return token

    def ended(self, token: object, failure: Exception | None = None) -> None:
        """The piece of work is over."""
        with self._lock:
            del self._running[token]
            if failure is not None:
                self.failures.append(failure)

    def running(self) -> list[str]:
        """What has not ended yet."""
        with self._lock:
            return list(self._running.values())

    def join(self, patience: float) -> list[str]:
        """Waits for the threads to end; what runs even after that long, in seconds."""
        limit = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
        while self.running() and time.monotonic() < limit:
            time.sleep(0.001)
        return self.running()

    def _run(self, token: object, function: Callable[[], object]) -> None:
        failure = None
        try:
            function()
        except Exception as exc:
            failure = exc
        self.ended(token, failure)
