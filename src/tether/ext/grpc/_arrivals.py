"""Calls that have come and wait for their handler to begin.

gRPC puts a call into the queue of its thread pool, and throws it away without a word if
it is over when its turn comes. So what has been dropped is found out by a finalizer,
which takes no lock.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import final

from tether import _clock

from ._counting import Method


@final
class Arrivals:
    """How many calls of a server wait, and how many never got a handler."""

    def __init__(self) -> None:
        self._waiting: dict[int, Method] = {}
        self._gone: deque[Method] = deque()
        self._dropped: Counter[Method] = Counter()
        self._counting = threading.Lock()

    def waiting(self) -> Counter[Method]:
        """How many wait now, by method."""
        return Counter(self._waiting.copy().values())

    def dropped(self) -> Counter[Method]:
        """How many never got a handler, by method."""
        with self._counting:
            while self._gone:
                self._dropped[self._gone.popleft()] += 1
            return self._dropped.copy()


@final
class Arrival:
    """One of them; if it is collected before it has begun, it is dropped."""

    __slots__ = ("_all", "at", "method")

    def __init__(self, everyone: Arrivals, method: Method) -> None:
        self._all = everyone
        self.method = method
        self.at = _clock.now()
        everyone._waiting[id(self)] = method

    def begin(self) -> None:
        """Its handler is about to begin."""
        self._all._waiting.pop(id(self), None)

    def drop(self) -> None:
        """Its handler will not begin."""
        if self._all._waiting.pop(id(self), None) is not None:
            self._all._gone.append(self.method)

    __del__ = drop
