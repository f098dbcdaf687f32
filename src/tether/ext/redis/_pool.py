"""Pools: the wait for a connection of a BlockingConnectionPool."""

from __future__ import annotations

import time
from functools import lru_cache
from queue import Queue
from typing import TYPE_CHECKING, Any

from tether import current
from tether._calls import can_end, translating
from tether._clock import INF
from tether._loops import refuse_to_block

from ._library import redis

if TYPE_CHECKING:
    _Base = Queue[Any]
else:
    _Base = object


@lru_cache(maxsize=64)
def obeying_queue(kind: type) -> type:
    """The class of queues a wait in which ends with `current()`."""
    if issubclass(kind, _Queue):
        return kind
    return type(kind.__name__, (_Queue, kind), {})


class _Queue(_Base):
    """What is added to the queue that a pool keeps its connections in."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002
        ctx = current()
        if not block or not can_end(ctx):
            return super().get(block, timeout)
        refuse_to_block("a command of redis.Redis", "redis.asyncio")
        until = INF if timeout is None else time.monotonic() + timeout
        stop = ctx.after_func(self._tether_wake)
        try:
            with self.not_empty:
                while not self._qsize():
                    left = until - time.monotonic()
                    if left <= 0 or ctx.done():
                        break
                    self.not_empty.wait(None if left == INF else left)
                else:
                    item = self._get()
                    self.not_full.notify()
                    return item
        finally:
            stop()
        with translating(ctx, (redis.exceptions.ConnectionError,)):
            raise redis.exceptions.ConnectionError("No connection available.")

    def _tether_wake(self) -> None:
        with self.not_empty:
            self.not_empty.notify_all()
