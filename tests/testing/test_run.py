"""testing.run: time that jumps when nothing can happen, and only then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from multiprocessing import get_context
from typing import Any

import pytest

from tests.core.support import LONG
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    abandoned,
    background,
    current,
    to_thread,
)
from tether.testing import Deadlock, VirtualClock, run

HOUR = 3600.0


def now() -> float:
    return asyncio.get_running_loop().time()


# -- time ------------------------------------------------------------------------------


def test_hours_pass_at_once_and_the_instants_are_exact() -> None:
    async def main(ctx: Context) -> list[float]:
        seen = [now()]
        await asyncio.sleep(HOUR)
        seen.append(now())
        await ctx.sleep_async(0.1)
        seen.append(now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60.0):
                await asyncio.Event().wait()
        seen.append(now())
        with contextlib.suppress(DeadlineExceeded):
            with ctx.with_timeout(30.0):
                await asyncio.Event().wait()
        seen.append(now())
        return seen

    began = time.monotonic()
    assert run(main) == [0.0, 3600.0, 3600.1, 3660.1, 3690.1]
    assert time.monotonic() - began < LONG


def test_the_clocks_agree() -> None:
    async def main(ctx: Context) -> None:
        with ctx.with_timeout(10.0) as scope:
            assert scope.deadline == 10.0
            await asyncio.sleep(4.0)
            assert scope.remaining() == 6.0
            asyncio.get_running_loop().call_later(1.0, scope.cancel)
            assert await scope.without_cancel().wait_async(2.0) is False
            assert (now(), scope.done()) == (6.0, True)

    with pytest.raises(Canceled):
        run(main)


def test_timers_of_both_kinds_run_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def asyncios(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(("asyncio", now()))

    async def tethers(ctx: Context, seconds: float) -> None:
        await ctx.sleep_async(seconds)
        seen.append(("tether", now()))

    async def main(ctx: Context) -> None:
        ctx.with_timeout(2.5).done_signal().add_callback(
            lambda: seen.append(("callback", now()))
        )
        await asyncio.gather(
            asyncios(3.0), tethers(ctx, 2.0), asyncios(1.0), tethers(ctx, 4.0)
        )

    run(main)
    assert seen == [
        ("asyncio", 1.0),
        ("tether", 2.0),
        ("callback", 2.5),
        ("asyncio", 3.0),
        ("tether", 4.0),
    ]


def test_work_between_two_waits_takes_no_time() -> None:
    async def main(ctx: Context) -> float:
        for _ in range(500):
            await asyncio.sleep(0)
        return now()

    assert run(main) == 0.0


def test_a_task_that_spins_does_not_stop_the_clock() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def main(ctx: Context) -> float:
        task = asyncio.create_task(spin())
        with contextlib.suppress(DeadlineExceeded):
            with ctx.with_timeout(2.0):
                await asyncio.Event().wait()
        task.cancel()
        return now()

    assert 2.0 <= run(main) < 2.1


# -- threads ---------------------------------------------------------------------------


def test_threads_that_wait_in_tether_follow_the_clock() -> None:
    def tick(ctx: Context) -> int:
        with ctx.with_timeout(5.5) as scope:
            ticks = 0
            while not scope.wait(1.0):
                ticks += 1
            return ticks

    async def main(ctx: Context) -> None:
        assert await to_thread(ctx, tick) == 5
        assert now() == 5.5
        assert await asyncio.to_thread(tick, ctx) == 5
        assert now() == 11.0

    run(main)


def test_functions_that_wait_for_an_end_have_run_when_the_clock_goes_on() -> None:
    async def main(ctx: Context) -> None:
        seen: list[float] = []
        loop = asyncio.get_running_loop()
        for seconds in (1.0, 2.0, 3.0):
            ctx.with_timeout(seconds).after_func(lambda: seen.append(loop.time()))
        await asyncio.sleep(10.0)
        assert seen == [1.0, 2.0, 3.0]

    run(main)


@pytest.mark.parametrize("how", ["tether", "asyncio", "pool"])
def test_work_in_a_thread_is_waited_for_in_real_time(how: str) -> None:
    """The clock stands while a query is answered."""

    async def main(ctx: Context) -> float:
        with ctx.with_timeout(5.0):
            async with asyncio.timeout(5.0):
                if how == "tether":
                    await to_thread(ctx, lambda _: time.sleep(0.25))
                elif how == "asyncio":
                    await asyncio.to_thread(time.sleep, 0.25)
                else:
                    with ThreadPoolExecutor(1) as pool:
                        loop = asyncio.get_running_loop()
                        await loop.run_in_executor(pool, time.sleep, 0.25)
        return now()

    assert run(main) == 0.0


def test_work_in_another_process_is_waited_for_in_real_time() -> None:
    async def main(ctx: Context) -> float:
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            async with asyncio.timeout(5.0):
                await loop.run_in_executor(pool, time.sleep, 0.25)
        return now()

    assert run(main) == 0.0


def test_a_thread_that_waits_for_a_lock_waits_for_the_clock() -> None:
    async def main(ctx: Context) -> float:
        told = threading.Event()
        asyncio.get_running_loop().call_later(50.0, told.set)
        assert await asyncio.to_thread(told.wait, LONG)
        return now()

    assert run(main) == 50.0


def test_a_thread_that_computes_until_its_deadline_reaches_it() -> None:
    def crunch(ctx: Context) -> None:
        for _ in ctx.poll(count()):
            pass

    async def main(ctx: Context) -> None:
        with ctx.with_timeout(0.05) as budget:
            await to_thread(budget, crunch)

    with pytest.raises(DeadlineExceeded):
        run(main)


def test_a_thread_that_computes_holds_the_clock_meanwhile() -> None:
    def crunch(ctx: Context) -> int:
        return sum(range(2_000_000))

    async def main(ctx: Context) -> float:
        async with asyncio.timeout(1.0):
            await asyncio.gather(*[to_thread(ctx, crunch) for _ in range(3)])
        return now()

    assert run(main) == 0.0


def test_an_abandoned_thread_does_not_stop_the_clock_when_it_waits_for_a_lock() -> None:
    release = threading.Event()

    async def main(ctx: Context) -> float:
        with contextlib.suppress(DeadlineExceeded):
            with ctx.with_timeout(1.0) as budget:
                await to_thread(budget, lambda _: release.wait(LONG), abandon=True)
        assert len(abandoned()) == 1
        await asyncio.sleep(10.0)
        return now()

    assert run(main) == 11.0
    release.set()
    while abandoned():
        time.sleep(0.001)


# -- input and output ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[tuple[str, int]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


def test_a_server_and_its_client_on_the_same_loop() -> None:
    async def main(ctx: Context) -> float:
        async with echo() as address:
            reader, writer = await asyncio.open_connection(*address)
            for n in range(20):
                async with asyncio.timeout(5.0):
                    writer.write(b"%d\n" % n)
                    assert await reader.readline() == b"%d\n" % n
                await asyncio.sleep(1.0)
            writer.close()
            await writer.wait_closed()
        return now()

    began = time.monotonic()
    assert run(main, grace=LONG) == 20.0
    assert time.monotonic() - began < LONG


def test_a_large_transfer_is_not_jumped_over() -> None:
    async def main(ctx: Context) -> float:
        size = 4_000_000
        async with echo() as address:
            reader, writer = await asyncio.open_connection(*address)
            async with asyncio.timeout(1.0):
                writer.write(b"x" * size)
                got = await asyncio.gather(writer.drain(), read(reader, size))
            writer.close()
            await writer.wait_closed()
        assert got[1] == size
        return now()

    async def read(reader: asyncio.StreamReader, size: int) -> int:
        got = 0
        while got < size:
            got += len(await reader.read(65536))
        return got

    assert run(main) == 0.0


def test_somebody_elses_answer_is_waited_for() -> None:
    """Neither its thread nor its socket belong to the loop."""

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            for _ in range(3):
                data = connection.recv(100)
                time.sleep(0.05)
                connection.sendall(data)

    async def main(ctx: Context) -> float:
        with socket.create_server(("127.0.0.1", 0)) as server:
            serving = threading.Thread(target=serve, args=(server,))
            serving.start()
            reader, writer = await asyncio.open_connection(*server.getsockname())
            for _ in range(3):
                async with asyncio.timeout(5.0):
                    writer.write(b"ping\n")
                    assert await reader.readline() == b"ping\n"
            writer.close()
            await writer.wait_closed()
            serving.join(LONG)
        return now()

    assert run(main, grace=2.0) == 0.0


def test_a_pair_of_sockets() -> None:
    async def main(ctx: Context) -> float:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        timer = threading.Timer(0.05, there.sendall, (b"x",))
        timer.start()
        async with asyncio.timeout(5.0):
            assert await reader.read(1) == b"x"
        timer.join(LONG)
        writer.close()
        there.close()
        return now()

    assert run(main, grace=2.0) == 0.0


@pytest.mark.skipif(os.name == "nt", reason="this loop has no child processes there")
def test_a_child_process() -> None:
    async def main(ctx: Context) -> float:
        async with asyncio.timeout(5.0):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "import time; time.sleep(0.05); print(1)"),
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert (await process.stdout.read()).strip() == b"1"
            assert await process.wait() == 0
        return now()

    assert run(main, grace=2.0) == 0.0


def test_after_the_grace_the_clock_goes_on() -> None:
    async def main(ctx: Context) -> float:
        here, there = socket.socketpair()
        with there:
            _, writer = await asyncio.open_connection(sock=here)
            await asyncio.sleep(HOUR)
            writer.close()
        return now()

    assert run(main, grace=0.01) == HOUR


def test_looking_whether_an_answer_is_coming_keeps_no_descriptor() -> None:
    reader, writer = os.pipe()

    def lowest_free() -> int:
        number = os.dup(reader)
        os.close(number)
        return number

    async def main(ctx: Context) -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(reader, int)
        before = lowest_free()
        for _ in range(50):
            await asyncio.sleep(HOUR)
        loop.remove_reader(reader)
        return lowest_free() - before

    try:
        assert run(main, grace=0.0) < 20  # other threads may open some meanwhile
    finally:
        os.close(reader)
        os.close(writer)


# -- the end ---------------------------------------------------------------------------


def test_a_deadlock_names_the_tasks() -> None:
    async def consumer(queue: asyncio.Queue[int]) -> None:
        await queue.get()

    async def main(ctx: Context) -> None:
        task = asyncio.create_task(consumer(asyncio.Queue()), name="consumer-1")
        await asyncio.sleep(5.0)
        await task

    with pytest.raises(Deadlock) as caught:
        run(main)
    text = str(caught.value)
    assert text.startswith("at 5 s everything waits and no timer is set:")
    assert "task consumer-1: " in text
    assert "consumer(), at testing/test_run.py:" in text  # where the program waits
    assert "main(), at " in text


def test_the_rest_is_canceled_on_the_same_clock() -> None:
    steps: list[tuple[str, float]] = []

    async def worker(ctx: Context) -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            with ctx.without_cancel().with_timeout(5.0) as last:
                await last.sleep_async(2.0)
            steps.append(("worker", now()))

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1.0)
            steps.append(("generator", now()))

    async def main(ctx: Context) -> str:
        kept.append(asyncio.create_task(worker(ctx)))
        kept.append(items())
        await anext(kept[1])
        return "returned"

    kept: list[Any] = []
    assert run(main) == "returned"
    assert steps == [("worker", 2.0), ("generator", 3.0)]


def test_errors_come_out_and_real_time_is_back() -> None:
    async def main(ctx: Context) -> None:
        await asyncio.sleep(1.0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)
    with background().with_timeout(0.002) as ctx:
        assert ctx.wait(LONG) is True


def test_the_context_is_of_its_own_and_ends_with_main() -> None:
    async def main(ctx: Context, a: int, b: int = 2) -> tuple[Context, bool, int]:
        return ctx, current() is ctx and ctx.deadline is None, a + b

    ctx, was_current, result = run(main, 1)
    assert ctx.done()
    assert (was_current, result) == (True, 3)


def test_a_program_of_run_runs_here_as_it_is() -> None:
    """A signal too: it comes between two turns of the loop."""

    async def service(ctx: Context) -> list[float]:
        from tether.signals import with_signals

        beats: list[float] = []
        with contextlib.suppress(Canceled), with_signals(ctx, signal.SIGTERM) as on:
            while True:
                beats.append(now())
                if len(beats) == 4:
                    signal.raise_signal(signal.SIGTERM)
                await on.sleep_async(30.0)
        return beats

    assert run(service) == [0.0, 30.0, 60.0, 90.0]


# -- bad input -------------------------------------------------------------------------


async def nothing(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("main", "grace", "kind", "text"),
    [
        (None, 0.1, TypeError, "takes a function to call"),
        (print, 0.1, TypeError, "with VirtualClock"),
        (nothing, -1.0, ValueError, "0 or more seconds"),
        (nothing, "1", TypeError, "number of seconds"),
    ],
)
def test_wrong_arguments_are_refused(
    main: Any, grace: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        run(main, grace=grace)


def test_one_clock_and_one_loop_at_a_time() -> None:
    with VirtualClock(), pytest.raises(RuntimeError, match="one at a time"):
        run(nothing)

    async def main(ctx: Context) -> None:
        with pytest.raises(RuntimeError, match="starts a loop of its own"):
            run(nothing)

    run(main)
