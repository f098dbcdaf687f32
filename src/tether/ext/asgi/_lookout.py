"""Finds the requests that take longer, with one timer for all of a loop."""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import final

from ._request import Request

# A request that ends sooner is never looked at. The look is once in as much time, so
# one that takes longer is found after one to two of it.
QUICK = 0.015


@final
class Lookout:
    """The requests of one loop, those that are not known to take longer apart.

    Whoever begins one adds it to `new` and says so (`among`); it is taken out of where
    it is by then when it ends. So what is in flight costs a quick request nothing more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.new: set[Request] = set()
        self._old: set[Request] = set()
        self._late: set[Request] = set()
        self.ticks = False

    def tick_later(self) -> None:
        """Look at what is there, soon."""
        self.ticks = True
        # In no request's variables: it would keep them alive.
        self.loop.call_later(QUICK, self._tick, context=Variables())

    def _tick(self) -> None:
        old, self._old, self.new = self._old, self.new, set()
        if self._old:
            self.tick_later()
        else:
            self.ticks = False
        for request in list(old):
            request.among = self._late
            self._late.add(request)
            request.is_late()

    def in_flight(self) -> list[Request]:
        """The requests that have begun and not ended, the oldest first."""
        known = [*self.new, *self._old, *self._late]
        return sorted(known, key=lambda request: request.since)
