"""One lifespan of an application, between the application and the server."""

from __future__ import annotations

import asyncio
import logging
from typing import final

from ._stop import Stop
from ._types import ASGIApp, Connection, Message, Receive, Send


@final
class Life:
    """From the startup to the shutdown that is held back until the stop is over.

    An application that knows no lifespan, or leaves it early, is stood in for.
    """

    def __init__(self, app: ASGIApp, stop: Stop, receive: Receive, send: Send) -> None:
        self._app = app
        self._stop = stop
        self._receive = receive
        self._send = send
        self._heard = False  # the application, of the startup
        self._up = False  # it has started
        self._ended = False  # it has said so, or that it could not start
        self._asking: asyncio.Task[Message] | None = None

    async def run(self, scope: Connection) -> None:
        try:
            try:
                await self._app(scope, self._hear, self._tell)
            except Exception as exc:
                if self._ended:
                    raise
                await self._without(exc)
            else:
                if not self._ended:
                    await self._without(None)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def _without(self, exc: Exception | None) -> None:
        """Go on in place of an application that has returned or raised."""
        fatal = exc if self._up else None
        if not self._up:
            if exc is not None:
                # As uvicorn does. Who has begun to listen may have failed in earnest.
                level = logging.WARNING if self._heard else logging.INFO
                text = "the application seems to know no lifespan: %r"
                logging.getLogger("tether").log(level, text, exc)
            if not self._heard:
                await self._hear()
            await self._tell({"type": "lifespan.startup.complete"})
        await self._hear()
        if fatal is not None:
            await self._stop.finish()
            raise fatal
        await self._tell({"type": "lifespan.shutdown.complete"})

    # -- what the application calls ------------------------------------------------

    async def _hear(self) -> Message:
        if not self._heard:
            self._heard = True
            return await self._receive()
        await self._stop.over.wait()
        return {"type": "lifespan.shutdown"}

    async def _tell(self, message: Message) -> None:
        kind = str(message["type"])
        if not kind.startswith("lifespan."):
            raise RuntimeError(f"{kind!r} is no answer to an event of the lifespan")
        if kind == "lifespan.startup.complete":
            self._up = True
            self._stop.listen()
            self._asking = asyncio.ensure_future(self._await_shutdown())
        else:
            self._ended = True
            if self._up:
                await self._stop.finish()
        await self._send(message)

    async def _await_shutdown(self) -> Message:
        try:
            return await self._receive()
        finally:
            self._stop.ask()
