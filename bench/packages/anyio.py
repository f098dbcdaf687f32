"""anyio, on asyncio, ended from outside by asyncio's own means."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from anyio.abc import SocketAttribute, SocketStream

from bench.packages import _service
from bench.packages._handing import Baton, One, Parcels, woken
from bench.packages._operation import Operation

PACKAGE = "anyio"


def baton() -> AbstractAsyncContextManager[Baton]:
    return Baton(anyio.Condition()).at_work()


@asynccontextmanager
async def stream(size: float, *, op_sends: bool) -> AsyncIterator[Parcels]:
    sender, receiver = anyio.create_memory_object_stream[int](size)
    with sender, receiver:
        parcels = Parcels(
            sender.send, receiver.receive, receiver.receive_nowait, anyio.WouldBlock
        )
        async with parcels.received() if op_sends else parcels.sent_to():
            yield parcels


async def task_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 1.0)
        group.start_soon(anyio.sleep, 2.0)


async def fail_after() -> None:
    with anyio.fail_after(10.0):
        await anyio.sleep(1.0)


async def to_thread() -> None:
    await anyio.to_thread.run_sync(time.sleep, 0.01)


async def run_process() -> None:
    await anyio.run_process([sys.executable, "-S", "-c", "print(1)"])


async def open_file() -> None:
    async with await anyio.open_file(__file__) as file:
        assert await file.readline()


async def talk(host: str) -> None:
    async with await anyio.connect_tcp(host, _service.port()) as stream:
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await stream.receive()


async def by_address() -> None:
    await talk("127.0.0.1")


async def by_name() -> None:
    await talk("localhost")


async def listener() -> None:
    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"hello")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, serve)
            await anyio.sleep(0.01)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                assert await stream.receive()
            group.cancel_scope.cancel()


OPERATIONS = [
    Operation("Lock", One.in_turns, lambda: One(anyio.Lock())),
    Operation("Semaphore", One.in_turns, lambda: One(anyio.Semaphore(1))),
    Operation("CapacityLimiter", One.in_turns, lambda: One(anyio.CapacityLimiter(1))),
    Operation(
        "Condition: one notify, two wait",
        woken,
        baton,
        Baton.one_was_woken,
        shown_by="anyio_condition",
    ),
    Operation(
        "memory stream: send",
        Parcels.send,
        lambda: stream(0, op_sends=True),
        Parcels.none_is_lost,
    ),
    Operation(
        "memory stream: receive",
        Parcels.receive,
        lambda: stream(0, op_sends=False),
        Parcels.none_is_lost,
        shown_by="anyio_stream",
    ),
    Operation("task group", task_group),
    Operation("fail_after", fail_after),
    Operation("to_thread.run_sync", to_thread),
    Operation("open_file", open_file, real_time=True, shown_by="anyio_open_file"),
    Operation("run_process", run_process, real_time=True),
    Operation("connect_tcp", by_address, real_time=True, needs=_service.port),
    Operation("connect_tcp, by name", by_name, real_time=True, needs=_service.port),
    Operation("TCP listener", listener, real_time=True),
]
