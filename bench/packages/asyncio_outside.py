"""asyncio of the standard library: connections and processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.packages import _service
from bench.packages._operation import Operation

PACKAGE = "asyncio"
TRUE = [sys.executable, "-S", "-c", ""]
TALKS = [sys.executable, "-S", "-c", "print('x' * 400_000)"]


async def talk(host: str, staggered: float | None = None) -> None:
    reader, writer = await asyncio.open_connection(
        host, _service.port(), happy_eyeballs_delay=staggered
    )
    try:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"ok")
    finally:
        writer.close()
        await writer.wait_closed()


async def by_address() -> None:
    await talk("127.0.0.1")


async def by_name() -> None:
    await talk("localhost")


async def staggered() -> None:
    await talk("localhost", staggered=0.25)


@contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


async def accept(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    async def call() -> None:
        await asyncio.sleep(0.1)
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, listener.getsockname())
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        group.create_task(call())
        accepted, _ = await loop.sock_accept(listener)
        accepted.close()


async def wait_for_process() -> None:
    process = await asyncio.create_subprocess_exec(*TRUE)
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def communicate() -> None:
    process = await asyncio.create_subprocess_exec(*TALKS, stdout=-1)
    try:
        await process.communicate()
    finally:
        if process.returncode is None:
            await asyncio.sleep(0.05)  # a moment of grace, in which it says more
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


OPERATIONS = [
    Operation("open_connection", by_address, real_time=True, needs=_service.port),
    Operation("open_connection, by name", by_name, real_time=True, needs=_service.port),
    Operation(
        "open_connection, staggered",
        staggered,
        real_time=True,
        needs=_service.port,
        shown_by="asyncio_staggered",
    ),
    Operation(
        "loop.sock_accept",
        accept,
        listener,
        shown_by="asyncio_sock_accept",
    ),
    Operation("subprocess: wait", wait_for_process, real_time=True),
    Operation(
        "subprocess: communicate",
        communicate,
        real_time=True,
        limit=1.0,
        shown_by="asyncio_communicate",
    ),
]
