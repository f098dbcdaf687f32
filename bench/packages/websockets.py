"""websockets: a client of a server in the same loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect as client
from websockets.asyncio.server import ServerConnection, serve

from bench.packages._operation import Operation

PACKAGE = "websockets"


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    async with serve(echo, "127.0.0.1", 0) as server:
        host, port = next(iter(server.sockets)).getsockname()
        yield f"ws://{host}:{port}"


async def connect(url: str) -> None:
    async with client(url) as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"


OPERATIONS = [Operation("connect, send, recv", connect, server, real_time=True)]
