"""What goes to and fro between a server and an application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias

Message: TypeAlias = MutableMapping[str, object]
Connection: TypeAlias = MutableMapping[str, object]  # what ASGI calls the scope
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Connection, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
Task: TypeAlias = asyncio.Task[object]

NAME = b"x-request-id"


def tells_of_client(exc: BaseException) -> bool:
    """Whether an exception only says that the client is gone.

    ASGI servers raise an OSError from send(), and Starlette's Request and Response a
    ClientDisconnect.
    """
    return isinstance(exc, OSError) or type(exc).__name__ == "ClientDisconnect"


def label_of(method: object, connection: Connection) -> str:
    """The name of a request or a websocket."""
    label = f"{method} {_template(connection)}"
    if not label.isprintable():  # a path may hold line ends, and labels go to logs
        label = ascii(label)[1:-1]
    return label


def _template(connection: Connection) -> str:
    """Its path, with the names of parameters for their values once it is routed.

    Starlette, FastAPI and Litestar say which there are. Routes are not asked: that of a
    router that is included, or mounted, does not know what stands before it.
    """
    path = str(connection["path"])
    params = connection.get("path_params")
    if not isinstance(params, dict):
        return path
    at = 0
    for name, value in params.items():
        text, named = f"/{value}", f"/{{{name}}}"
        found = path.find(text, at)
        while found >= 0 and path[found + len(text) :][:1] not in {"", "/"}:
            found = path.find(text, found + 1)
        if found >= 0:
            path = f"{path[:found]}{named}{path[found + len(text) :]}"
            at = found + len(named)
    return path


def headers_of(connection: Connection) -> Headers:
    return connection.get("headers", ())  # type: ignore[return-value]


def named(message: Message, ident: str) -> Message:
    """The start of a response with the id of its request, unless it has one.

    A copy: an application may send the same message again and again.
    """
    # No cast(): it is a call.
    headers: Headers = message.get("headers", ())  # type: ignore[assignment]
    for name, _ in headers:
        if name == NAME:
            return message
    return {**message, "headers": [*headers, (NAME, ident.encode())]}


def expects_continue(connection: Connection) -> bool:
    """Whether the client waits to be told to send its body."""
    return any(
        name.lower() == b"expect" and value.lower() == b"100-continue"
        for name, value in headers_of(connection)
    )
