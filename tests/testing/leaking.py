"""Things left behind, one of each kind, and beside each what should have been written.

The functions are what a test might do. What they leave is in `KEPT`, with what ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

KEPT: list[tuple[object, Callable[[], object]]] = []

Body = Callable[[], Awaitable[object]]
LEAKS: dict[str, Body] = {}
CLEAN: dict[str, Body] = {}


def keep(thing: Any, end: Callable[[], object]) -> None:
    """Hold on to it until `sweep_up`."""
    KEPT.append((thing, end))


def sweep_up() -> None:
    """End what was left behind."""
    while KEPT:
        thing, end = KEPT.pop()
        end()
        del thing, end
    gc.collect()


def leak(name: str) -> Callable[[Body], Body]:
    def add(body: Body) -> Body:
        LEAKS[name] = body
        return body

    return add


def clean(name: str) -> Callable[[Body], Body]:
    def add(body: Body) -> Body:
        CLEAN[name] = body
        return body

    return add


async def waits() -> None:
    await asyncio.get_running_loop().create_future()


async def fails() -> None:
    raise ValueError("nobody asks")


async def one() -> int:
    return 1


async def numbers() -> AsyncIterator[int]:
    for number in range(10):
        yield number


def called() -> None:
    """What a timer calls."""


# -- tasks ---------------------------------------------------------------------


@leak("task kept, waits for ever")
async def _() -> None:
    task = asyncio.create_task(waits())
    keep(task, called)
    await asyncio.sleep(0)


@clean("task kept, waits for ever")
async def _() -> None:
    task = asyncio.create_task(waits())
    keep(task, called)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


@leak("task dropped, then collected")
async def _() -> None:
    asyncio.create_task(waits())  # type: ignore[unused-awaitable]  # noqa: RUF006
    await asyncio.sleep(0)
    gc.collect()


@clean("task dropped, then collected")
async def _() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(waits()).add_done_callback(str)
        await asyncio.sleep(0)
        gc.collect()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_coro().__qualname__ == "waits":  # type: ignore[union-attr]
                task.cancel()


@leak("task that swallows cancel")
async def _() -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await waits()

    keep(asyncio.create_task(stubborn(), name="stubborn"), called)
    await asyncio.sleep(0)


@clean("task that swallows cancel")
async def _() -> None:
    async def ends() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    task = asyncio.create_task(ends())
    await asyncio.sleep(0)
    task.cancel()
    await task


@clean("task that ends a little later")
async def _() -> None:
    keep(asyncio.create_task(asyncio.sleep(0.06)), called)
    await asyncio.sleep(0)


@leak("task failed, its result never read")
async def _() -> None:
    asyncio.create_task(fails())  # type: ignore[unused-awaitable]  # noqa: RUF006
    await asyncio.sleep(0.01)
    gc.collect()


@clean("task failed, its result never read")
async def _() -> None:
    with contextlib.suppress(ValueError):
        await asyncio.create_task(fails())


@leak("coroutine never awaited")
async def _() -> None:
    one()  # type: ignore[unused-coroutine]


@clean("coroutine never awaited")
async def _() -> None:
    await one()


@leak("call_later in an hour")
async def _() -> None:
    asyncio.get_running_loop().call_later(3600.0, called)


@clean("call_later in an hour")
async def _() -> None:
    asyncio.get_running_loop().call_later(3600.0, called).cancel()


@leak("asynchronous generator half used")
async def _() -> None:
    generator = numbers()
    await anext(generator)
    keep(generator, called)


@clean("asynchronous generator half used")
async def _() -> None:
    async with contextlib.aclosing(numbers()) as generator:  # type: ignore[type-var]
        await anext(generator)


# -- threads -------------------------------------------------------------------


@leak("thread, blocked")
async def _() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    keep(thread, lambda: (over.set(), thread.join()))


@clean("thread, blocked")
async def _() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    over.set()
    thread.join()


@leak("daemon thread, blocked")
async def _() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    keep(thread, lambda: (over.set(), thread.join()))


@clean("daemon thread, blocked")
async def _() -> None:
    over = threading.Event()
    threading.Thread(target=over.wait, daemon=True).start()
    over.set()  # and it is about to end


@leak("to_thread timed out, still blocked")
async def _() -> None:
    over = threading.Event()
    keep(over, over.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            # Long enough to be seen; a runner without a check waits for its end.
            await asyncio.to_thread(over.wait, 4.0)


@clean("to_thread timed out, still blocked")
async def _() -> None:
    over = threading.Event()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.to_thread(over.wait, 4.0)
    over.set()


@leak("executor not shut down")
async def _() -> None:
    executor = ThreadPoolExecutor(1)
    executor.submit(called).result()
    keep(executor, executor.shutdown)


@clean("executor not shut down")
async def _() -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(called).result()


@leak("threading.Timer")
async def _() -> None:
    timer = threading.Timer(3600.0, called)
    timer.start()
    keep(timer, timer.cancel)


@clean("threading.Timer")
async def _() -> None:
    timer = threading.Timer(3600.0, called)
    timer.start()
    timer.cancel()


# -- what the system has open --------------------------------------------------


@leak("socket, still referenced")
async def _() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    keep(server, server.close)


@clean("socket, still referenced")
async def _() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        pass


@leak("socket, dropped")
async def _() -> None:
    socket.create_server(("127.0.0.1", 0))


@clean("socket, dropped")
async def _() -> None:
    socket.create_server(("127.0.0.1", 0)).close()


@leak("transport not closed")
async def _() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    _, writer = await asyncio.open_connection(*listener.getsockname())

    def end() -> None:
        listener.close()
        with contextlib.suppress(RuntimeError):  # its loop is closed
            writer.transport.abort()
        sock = getattr(writer.transport, "_sock", None)
        if sock is not None:
            sock.close()
            writer.transport._sock = None  # type: ignore[attr-defined]

    keep(writer, end)


@clean("transport not closed")
async def _() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    _, writer = await asyncio.open_connection(*listener.getsockname())
    listener.close()
    writer.close()
    await writer.wait_closed()


@leak("child process not waited for")
async def _() -> None:
    command = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert child.stdin is not None

    keep(child, lambda: (child.kill(), child.communicate()))


@clean("child process not waited for")
async def _() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


@leak("temporary file open")
async def _() -> None:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115
    keep(file, file.close)


@clean("temporary file open")
async def _() -> None:
    with tempfile.NamedTemporaryFile() as file:
        os.fstat(file.fileno())


@leak("signal handler left behind")
async def _() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    keep(before, lambda: signal.signal(signal.SIGUSR1, before))


@clean("signal handler left behind")
async def _() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGUSR1, before)
