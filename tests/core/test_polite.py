"""The polite rule: scopes that end at the worst moment lose nothing.

Each case runs twice, under our scopes and under `asyncio.timeout`, which shows that the
moment is the worst one: there items, wake-ups and pooled connections do get lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from tests.core.test_interrupt import turns
from tether import Canceled, background

Run = Callable[..., Any]
End = Callable[[], object]
Bounded = Callable[[], AbstractAsyncContextManager[End]]

ROUNDS = 50


@asynccontextmanager
async def ours() -> AsyncIterator[End]:
    with contextlib.suppress(Canceled), background().with_cancel() as scope:
        yield scope.cancel


@asynccontextmanager
async def theirs() -> AsyncIterator[End]:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            yield lambda: timeout.reschedule(0.0)


async def items_lost(bounded: Bounded) -> int:
    """Items that went into an anyio stream and came out nowhere."""
    sent = received = 0
    for first in (True, False) * (ROUNDS // 2):
        into, out = anyio.create_memory_object_stream[int](10)
        loop = asyncio.get_running_loop()
        got: list[int] = []

        async with into, out:
            async with bounded() as end:

                def both(first: bool, into: Any, end: End) -> None:
                    if first:
                        end()
                    into.send_nowait(1)
                    if not first:
                        end()

                # In the turn after the next, when the receiver waits.
                loop.call_soon(loop.call_soon, both, first, into, end)
                got.append(await out.receive())
                await asyncio.Event().wait()
            sent += 1
            received += len(got) + out.statistics().current_buffer_used
    return sent - received


async def wake_ups_lost(bounded: Bounded) -> int:
    """Notifications of a Condition that neither of two waiters got."""
    lost = 0
    for _ in range(ROUNDS):
        condition = asyncio.Condition()
        woken: list[str] = []
        ends: list[End] = []

        async def bounded_waiter(
            condition: asyncio.Condition = condition,
            woken: list[str] = woken,
            ends: list[End] = ends,
        ) -> None:
            async with bounded() as end:
                ends.append(end)
                async with condition:
                    await condition.wait()
                    woken.append("first")

        async def free_waiter(
            condition: asyncio.Condition = condition, woken: list[str] = woken
        ) -> None:
            async with condition:
                await condition.wait()
                woken.append("second")

        tasks = [asyncio.create_task(bounded_waiter())]
        await turns(4)
        tasks.append(asyncio.create_task(free_waiter()))
        await turns(4)
        ends[0]()
        async with condition:
            condition.notify(1)
        await turns()
        lost += not woken
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return lost


async def connections_lost(bounded: Bounded) -> int:
    """Of a pool of ten, those that no later request can have.

    Ten requests at a time: with more, so that some wait in the pool's queue, httpcore
    1.0.9 loses connections under anyio's own cancellation too (httpcore 1093).
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    limits = httpx.Limits(max_connections=10, max_keepalive_connections=10)
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(limits=limits, timeout=5.0) as client:

        async def request(moment: int) -> None:
            async with bounded() as end:

                def later(left: int) -> None:
                    if left:
                        loop.call_soon(later, left - 1)
                    else:
                        end()

                later(moment)
                await client.get(url)

        for moment in range(40):
            await asyncio.gather(*(request(moment + n % 5) for n in range(10)))
        await asyncio.sleep(0)
        held: list[httpx.Response] = []
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(10):
                with contextlib.suppress(httpx.PoolTimeout):
                    held.append(
                        await stack.enter_async_context(
                            client.stream(
                                "GET", url, timeout=httpx.Timeout(5.0, pool=0.05)
                            )
                        )
                    )
            lost = 10 - len(held)
    server.close()
    await server.wait_closed()
    await turns(50)
    return lost


@pytest.mark.parametrize(
    "lost_by", [items_lost, wake_ups_lost, connections_lost], ids=lambda f: f.__name__
)
def test_nothing_is_lost(run: Run, lost_by: Callable[[Bounded], Any]) -> None:
    assert run(lost_by, ours) == 0


def test_the_moments_are_the_worst(
    run: Run, record_property: Callable[[str, object], None]
) -> None:
    """asyncio.timeout loses at the very same moments, so the test above can fail."""
    lost = {case.__name__: run(case, theirs) for case in (items_lost, connections_lost)}
    for name, count in lost.items():
        record_property(name, count)
    assert lost["items_lost"] > 0
    assert lost["connections_lost"] > 0
