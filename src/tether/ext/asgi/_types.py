"""What goes to and fro between a server and an application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias, cast

Message: TypeAlias = MutableMapping[str, object]
Connection: TypeAlias = MutableMapping[str, object]  # what ASGI calls the scope
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Connection, Receive, Send], Awaitable[None]]
Task: TypeAlias = asyncio.Task[object]


class ClientDisconnected(Exception):
    """The client closed its connection: the cause of the request's cancel."""


def client_left() -> ClientDisconnected:
    return ClientDisconnected("the client closed its connection")


def tells_of_client(exc: BaseException) -> bool:
    """Whether an exception only says that the client is gone.

    ASGI servers raise an OSError from send(), and Starlette's Request and Response a
    ClientDisconnect.
    """
    return isinstance(exc, OSError) or type(exc).__name__ == "ClientDisconnect"


def label_of(method: object, connection: Connection) -> str:
    """The name of a request or a websocket."""
    label = f"{method} {connection['path']}"
    if not label.isprintable():  # a path may hold line ends, and labels go to logs
        label = ascii(label)[1:-1]
    return label


def expects_continue(connection: Connection) -> bool:
    """Whether the client waits to be told to send its body."""
    headers = cast("Iterable[tuple[bytes, bytes]]", connection["headers"])
    return any(
        name.lower() == b"expect" and value.lower() == b"100-continue"
        for name, value in headers
    )
