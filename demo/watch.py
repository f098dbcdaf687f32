"""What a gateway does at the moment, told at `/_stats`.

On the service's own port only because this is a demo. It only counts: whose client has
left is known to the clients, who send an id with each request and look for those they
have given up.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = b"x-request-id"


class Watch:
    """The requests and queries in progress, by the id that the client has sent."""

    def __init__(self) -> None:
        self._handlers: set[str] = set()
        self._queries: set[str] = set()

    @staticmethod
    def id_of(scope: Scope) -> str:
        """The id of a request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        return headers.get(HEADER, b"").decode("latin-1")

    def around(self, app: App) -> App:
        """The application, with its requests counted and `/_stats` answered."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
            elif scope["path"] == "/_stats":
                await self._answer(send)
            else:
                name = self.id_of(scope)
                self._handlers.add(name)
                try:
                    await app(scope, receive, send)
                finally:
                    self._handlers.discard(name)

        return watched

    @contextmanager
    def query(self, name: str) -> Iterator[None]:
        """Counts a query as running, inside the thread that runs it."""
        self._queries.add(name)
        try:
            yield
        finally:
            self._queries.discard(name)

    async def _answer(self, send: Send) -> None:
        stats = {
            "handlers": [*self._handlers],
            "queries": [*self._queries],
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
        }
        body = json.dumps(stats).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
