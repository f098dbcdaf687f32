"""The listener of one request, for as long as the application does something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context as Variables
from typing import final

from ._types import Message, Receive


@final
class Inbox:
    """Reads what the server has for a request, at most one message ahead.

    `hear` is told of each message before anybody gets it. Nothing is read after one
    that is not a part of the body.
    """

    def __init__(
        self,
        receive: Receive,
        hear: Callable[[Message], None],
        loop: asyncio.AbstractEventLoop,
        variables: Variables,
    ) -> None:
        self._receive = receive
        self._hear = hear
        self._loop = loop
        self._ahead: Message | None = None  # the one message that nobody has taken
        self._taken: asyncio.Future[None] | None = None  # the task waits for that
        self._failure: Exception | None = None  # of the server's receive()
        self._closed = False
        self._arrivals: list[asyncio.Future[None]] = []
        self._task = loop.create_task(self._read(), context=variables)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._receive()
                self._hear(message)
                if message["type"] != "http.request":
                    self._end()
                    return
                await self._until_taken()
                self._ahead = message
                self._arrived()
                if message.get("more_body"):
                    await self._until_taken()
                # Else the body is complete, and what comes is that the client leaves.
        except Exception as exc:  # the application's, as if it had asked itself
            self._failure = exc
            self._arrived()

    async def _until_taken(self) -> None:
        while self._ahead is not None:
            self._taken = self._loop.create_future()
            await self._taken

    async def take(self) -> Message:
        """The next message."""
        while True:
            message = self._ahead
            if message is not None:
                self._ahead = None
                if self._taken is not None and not self._taken.done():
                    self._taken.set_result(None)
                return message
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return {"type": "http.disconnect"}
            arrival = self._loop.create_future()
            self._arrivals.append(arrival)
            await arrival

    def close(self) -> None:
        """Read no more, and tell all who wait, now and later, that the client left."""
        self._task.cancel()
        self._end()

    def _end(self) -> None:
        self._closed = True
        self._arrived()

    def _arrived(self) -> None:
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            if not arrival.done():
                arrival.set_result(None)
