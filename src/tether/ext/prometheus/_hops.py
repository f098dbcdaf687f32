"""How long calls to other services take, and which begin with less than that."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from functools import cache
from statistics import median
from threading import Lock
from typing import final
from urllib.parse import urlsplit

from tether import Context, ContextError, _clock
from tether._clock import INF

from ._library import Counter
from ._names import OTHER, Names, label

KEPT = 100  # calls of which the median is taken
LEAST = 20  # before it is believed
ANEW = 10  # calls until it is worked out anew
QUIET = 60.0  # seconds between two lines in the log about one hop

_log = logging.getLogger("tether")
_SHORT = (
    "a call begins with less time than it takes: %s has %.3g s left and takes %.3g s "
    "as a rule, so it will hardly be answered. Whoever is above it has used up the "
    "time%s; %d such calls since the last line"
)


@final
class Hops:
    """All of them, by method and host; those of gRPC by their method alone."""

    def __init__(self, most: int, cascade: Counter) -> None:
        self._names = Names(most)
        self._cascade = cache(cascade.labels)
        self._hops: dict[str, Hop] = {}

    def begun(
        self, ctx: Context, method: str, url: object
    ) -> Callable[[BaseException | None], None]:
        """A call begins. See `_watching.hop`."""
        name = self._names.of(f"{method} {_host(url)}".rstrip())
        if name == OTHER:
            return _nobody  # many hops in one have no usual time
        hop = self._hops.get(name)
        if hop is None:
            hop = self._hops.setdefault(name, Hop(name))
        left = ctx.remaining()
        if left < hop.usual != 0.0:
            self._cascade(name).inc()
            hop.warn(ctx, left)
        began = _clock.now()

        def ended(exc: BaseException | None) -> None:
            took = _clock.now() - began
            if exc is None:
                hop.add(took)
            elif isinstance(exc, ContextError | CancelledError) and hop.usual != 0.0:
                # It was cut, so nobody knows what it would have taken; not less than
                # what is usual, or cut calls would soon be what is usual.
                hop.add(max(took, hop.usual))

        return ended

    def usual(self) -> list[tuple[str, float]]:
        """What is usual, by name; of those of which that is known."""
        known = sorted(self._hops.copy().items())
        return [(name, hop.usual) for name, hop in known if hop.usual != 0.0]


def _nobody(_: BaseException | None) -> None:
    """Nobody wants to know."""


@final
class Hop:
    """The latest calls to one host."""

    def __init__(self, name: str) -> None:
        self.usual = 0.0  # seconds; 0: that is not known yet
        self._name = name
        self._lock = Lock()
        self._latest: deque[float] = deque(maxlen=KEPT)
        self._fresh = LEAST  # calls that have still to come before the median is taken
        self._silent_until = -INF
        self._unsaid = 0

    def add(self, seconds: float) -> None:
        """One has taken so long."""
        with self._lock:
            self._latest.append(seconds)
            self._fresh -= 1
            if self._fresh <= 0:
                self._fresh = ANEW
                self.usual = median(self._latest)

    def warn(self, ctx: Context, left: float) -> None:
        """One begins with too little time; says so now and then."""
        with self._lock:
            now = _clock.now()
            self._unsaid += 1
            if now < self._silent_until:
                return
            self._silent_until = now + QUIET
            count, self._unsaid = self._unsaid, 0
        root = label(ctx)
        of_root = f", of {root}" if root else ""
        _log.warning(_SHORT, self._name, left, self.usual, of_root, count)


def _host(url: object) -> str:
    """The host and port of a URL, and never what stands before them: a password."""
    return urlsplit(str(url)).netloc.rpartition("@")[2]
