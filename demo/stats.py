"""Counts, inside a gateway's process, what runs there and for whom.

It stands outside everything else and looks at the server's own record of the request,
so it neither helps nor hinders what it measures, with tether or without.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True)
class Stats:
    """What runs at this moment. Left: the client hung up, or has its answer."""

    handlers: int
    handlers_left: int
    queries: int
    queries_left: int
    tasks: int
    threads: int


class Visit:
    """One request; uvicorn's side of it knows whether the client is still there."""

    def __init__(self, receive: Receive) -> None:
        self.cycle: Any = getattr(receive, "__self__", None)
        self.handled = False

    @property
    def client_left(self) -> bool:
        return bool(getattr(self.cycle, "disconnected", False))


_visit: ContextVar[Visit | None] = ContextVar("visit", default=None)
_visits: set[Visit] = set()
_queries: dict[object, Visit | None] = {}


@contextmanager
def query_runs() -> Iterator[None]:
    """Around each statement, in whichever thread it runs."""
    me = object()
    _queries[me] = _visit.get()
    try:
        yield
    finally:
        del _queries[me]


def read() -> Stats:
    queries = list(_queries.values())
    visits = list(_visits)
    return Stats(
        handlers=len(visits),
        handlers_left=sum(visit.client_left for visit in visits),
        queries=len(queries),
        queries_left=sum(
            visit is not None and (visit.handled or visit.client_left)
            for visit in queries
        ),
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
    )


class Counted:
    """The application, counted, and `GET /_stats` beside it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == "/_stats":
            await answer(send, json.dumps(asdict(read())).encode())
        else:
            visit = Visit(receive)
            _visit.set(visit)
            _visits.add(visit)
            try:
                await self.app(scope, receive, send)
            finally:
                visit.handled = True
                _visits.discard(visit)


async def answer(send: Send, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
