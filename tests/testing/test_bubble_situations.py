"""The eleven situations that a fake clock has to get right, in each kind of bubble."""

# Dates without a zone have to be right, too.
# ruff: noqa: DTZ002, DTZ005, DTZ006, DTZ011
from __future__ import annotations

import asyncio
import datetime as dt
import select
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.core.support import LONG
from tether.testing import Deadlock, bubble

Main = Callable[[], Coroutine[Any, Any, Any]]
Scenario = Callable[..., Any]
EPOCH = 946_684_800.0  # 2000-01-01 UTC


@pytest.fixture(params=["decorator", "context manager", "fixture"])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    """Runs a coroutine function in a bubble with these options."""

    def run(main: Main, **options: float) -> Any:
        if request.param == "decorator":
            return bubble(**options)(main)()
        if request.param == "context manager":
            with bubble(**options):
                return asyncio.run(main())
        request.node.add_marker(pytest.mark.tether_bubble(**options))
        request.getfixturevalue("bubble")
        return asyncio.run(main())

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def test_an_hour_of_sleep_takes_none(scenario: Scenario) -> None:
    async def main() -> float:
        await asyncio.sleep(3600.0)
        return now()

    assert scenario(main) == 3600.0


def test_timers_come_in_order_and_at_their_instants(scenario: Scenario) -> None:
    seen: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, now()))

    async def main() -> None:
        await asyncio.gather(sleeper(0.2), sleeper(0.1), sleeper(30.0))

    scenario(main)
    assert seen == [(0.1, 0.1), (0.2, 0.2), (30.0, 30.0)]


def test_a_timeout_comes_at_its_instant(scenario: Scenario) -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60.0):
                await asyncio.Event().wait()
        return now()

    assert scenario(main) == 60.0


def test_loopback_io_takes_no_time(scenario: Scenario) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> float:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with asyncio.timeout(5.0):
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"x\n")
            assert await reader.readline() == b"x\n"
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return now()

    assert scenario(main) == 0.0


def test_a_slow_answer_from_outside_is_waited_for(scenario: Scenario) -> None:
    asked = threading.Event()
    here, there = socket.socketpair()

    def peer() -> None:  # older than the bubble: its time is real
        asked.wait(LONG)
        time.sleep(0.05)
        there.sendall(b"x")

    thread = threading.Thread(target=peer)
    thread.start()

    async def main() -> float:
        reader, writer = await asyncio.open_connection(sock=here)
        async with asyncio.timeout(1.0):
            asked.set()
            assert await reader.read(1) == b"x"
        writer.close()
        await writer.wait_closed()
        return now()

    assert scenario(main, grace=LONG) == 0.0
    thread.join(LONG)
    there.close()


def test_real_work_in_a_thread_is_waited_for(scenario: Scenario) -> None:
    async def main() -> float:
        async with asyncio.timeout(0.01):
            await asyncio.to_thread(select.select, [], [], [], 0.05)
        return now()

    assert scenario(main) == 0.0


def test_all_clocks_agree(scenario: Scenario) -> None:
    async def main() -> list[float]:
        await asyncio.sleep(600.0)
        seconds = [time.monotonic(), time.perf_counter(), time.time() - EPOCH]
        ns = [time.monotonic_ns(), time.perf_counter_ns()]
        return [*seconds, *(one / 10**9 for one in ns), now()]

    assert scenario(main) == [600.0] * 6


def test_the_calendar_goes_along(scenario: Scenario) -> None:
    async def main() -> None:
        await asyncio.sleep(86_400.0)
        moment = dt.datetime.now(dt.UTC)
        assert moment.isoformat() == "2000-01-02T00:00:00+00:00"
        assert time.time_ns() == 946_771_200 * 10**9
        local = dt.datetime.fromtimestamp(EPOCH + 86_400.0)
        assert dt.datetime.now() == dt.datetime.today() == local
        assert dt.date.today() == local.date()

    scenario(main)


def test_a_worker_that_sleeps_takes_no_real_time(scenario: Scenario) -> None:
    async def main() -> float:
        async with asyncio.timeout(700.0):
            await asyncio.to_thread(time.sleep, 600.0)
        return now()

    assert scenario(main) == 600.0


def test_a_deadlock_is_an_error(scenario: Scenario) -> None:
    async def main() -> None:
        await asyncio.sleep(5.0)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"(?s)at 5 s everything waits.*in main"):
        scenario(main)


def test_a_task_that_spins_does_not_stop_time(scenario: Scenario) -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(spin())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.Event().wait()
        task.cancel()

    scenario(main)
