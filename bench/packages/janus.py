"""janus: the asynchronous side of its queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import janus

from bench.packages._handing import Parcels
from bench.packages._operation import Operation

PACKAGE = "janus"


@asynccontextmanager
async def queue(*, op_sends: bool) -> AsyncIterator[Parcels]:
    queue: janus.Queue[int] = janus.Queue(1)
    try:
        parcels = Parcels(
            queue.async_q.put,
            queue.async_q.get,
            queue.async_q.get_nowait,
            janus.AsyncQueueEmpty,
        )
        async with parcels.received() if op_sends else parcels.sent_to():
            yield parcels
    finally:
        await queue.aclose()


OPERATIONS = [
    Operation("put", Parcels.send, lambda: queue(op_sends=True), Parcels.none_is_lost),
    Operation(
        "get", Parcels.receive, lambda: queue(op_sends=False), Parcels.none_is_lost
    ),
]
