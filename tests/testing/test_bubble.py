"""bubble: its three kinds, what it refuses, and that real time is back afterwards."""

# Dates without a zone have to be right, too.
# ruff: noqa: DTZ001, DTZ005, DTZ011
from __future__ import annotations

import asyncio
import datetime as dt
import queue
import select
import signal
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator
from functools import wraps
from time import sleep
from typing import Any

import pytest
import trio
import uvloop

import tether
from tests.core.support import LONG
from tether import Context, background
from tether.testing import (
    Bubble,
    Deadlock,
    Proxies,
    Spinning,
    Unfinished,
    VirtualClock,
    bubble,
    wait,
    wait_async,
)

EPOCH = 946_684_800.0


def names() -> list[object]:
    """All that a bubble replaces."""
    functions: list[object] = [
        time.time,
        time.time_ns,
        time.monotonic,
        time.sleep,
        sleep,
    ]
    functions += [time.monotonic_ns, time.perf_counter, time.perf_counter_ns]
    functions += [time.localtime, time.gmtime, time.ctime, time.asctime, time.strftime]
    functions += [dt.datetime, dt.date, asyncio.new_event_loop]
    functions += [asyncio.Runner.run, asyncio.BaseEventLoop.run_forever, trio.run]
    functions += [asyncio.Runner.get_loop, uvloop.new_event_loop]
    functions += [threading.Condition.wait, threading.Condition.__init__]
    functions += [threading.Thread.start, threading.Thread.join]
    return functions


REAL = names()


@pytest.fixture(autouse=True)
def real_time_is_back(request: pytest.FixtureRequest) -> Iterator[None]:
    if "bubble" in request.fixturenames:  # which is around this one
        yield
        return
    assert names() == REAL
    yield
    assert names() == REAL


# -- three kinds -----------------------------------------------------------------------


def test_a_decorated_function_gets_its_arguments_and_gives_its_result() -> None:
    @bubble
    def plain(seconds: float, *, twice: bool) -> float:
        time.sleep(seconds)
        if twice:
            sleep(seconds)
        return time.monotonic()

    @bubble(grace=0.0)
    async def coroutine(seconds: float, *, twice: bool) -> float:
        await asyncio.sleep(seconds * (1 + twice))
        return time.monotonic()

    for _ in range(2):  # each call has a bubble of its own
        assert plain(5.0, twice=True) == coroutine(5.0, twice=True) == 10.0
    assert plain.__name__ == "plain"


class TestOfAClass:
    @bubble
    async def test_a_method(self) -> None:
        await asyncio.sleep(5.0)
        assert time.monotonic() == 5.0


def test_a_context_manager_may_run_loops_one_after_the_other() -> None:
    async def main() -> None:
        await asyncio.sleep(5.0)

    with bubble() as one:
        assert isinstance(one, Bubble)
        asyncio.run(main())
        time.sleep(5.0)
        with asyncio.Runner() as runner:
            runner.run(main())
            time.sleep(5.0)
            runner.run(main())
        assert time.monotonic() == 25.0


def test_the_fixture_is_around_the_whole_test(bubble: Bubble) -> None:
    time.sleep(60.0)
    assert time.monotonic() == 60.0


async def test_the_fixture_runs_an_async_test(bubble: Bubble) -> None:
    await asyncio.sleep(60.0)
    assert time.monotonic() == asyncio.get_running_loop().time() == 60.0


def test_a_program_runs_inside() -> None:
    async def main(ctx: Context) -> None:
        await ctx.sleep_async(100.0)

    with bubble():
        tether.run(main)
        assert time.monotonic() == 100.0


def test_the_loop_may_run_in_a_thread() -> None:
    async def main() -> float:
        await asyncio.sleep(30.0)
        await asyncio.to_thread(time.sleep, 30.0)
        return time.monotonic()

    with bubble():
        seen: list[float] = []
        thread = threading.Thread(target=lambda: seen.append(asyncio.run(main())))
        thread.start()
        time.sleep(40.0)
        wait()
        assert seen == []
        thread.join()
        assert seen == [60.0]


def test_several_loops_in_threads_move_one_clock() -> None:
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *at: float) -> None:
        for instant in at:
            await asyncio.sleep(instant - time.monotonic())
            seen.append((name, time.monotonic()))

    @bubble
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("here", 1.0, 4.0, 5.0))
            for name, *at in (("a", 2.0, 3.0, 8.0), ("b", 2.5, 6.0, 7.0)):
                group.create_task(asyncio.to_thread(asyncio.run, sleeper(name, *at)))

    main()
    assert seen == [
        *(("here", 1.0), ("a", 2.0), ("b", 2.5), ("a", 3.0), ("here", 4.0)),
        *(("here", 5.0), ("b", 6.0), ("b", 7.0), ("a", 8.0)),
    ]


def test_what_one_loop_sends_to_another_arrives_before_time_moves() -> None:
    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while line := await reader.readline():
            await asyncio.sleep(5.0)
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def serve(told: queue.Queue[Any]) -> None:
        over = asyncio.Event()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            told.put((address, asyncio.get_running_loop(), over))
            await over.wait()

    @bubble
    async def main() -> float:
        told: queue.Queue[Any] = queue.Queue()
        work = asyncio.create_task(asyncio.to_thread(asyncio.run, serve(told)))
        (host, port), loop, over = await asyncio.to_thread(told.get)
        reader, writer = await asyncio.open_connection(host, port)
        for _ in range(20):
            async with asyncio.timeout(5.001):
                writer.write(b"x\n")
                assert await reader.readline() == b"x\n"
        await wait_async()
        writer.close()
        await writer.wait_closed()
        loop.call_soon_threadsafe(over.set)
        await work
        return time.monotonic()

    assert main() == 100.0


async def test_a_proxy_delays_by_the_clock_of_the_bubble(
    bubble: Bubble, tether_proxy: Proxies
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        proxy = tether_proxy(host, port, latency=30.0)
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"x\n")
        assert await reader.readline() == b"x\n"
        assert time.monotonic() >= 30.0
        writer.close()
        await writer.wait_closed()


def test_a_deadlock_of_several_loops_names_the_tasks_of_all() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    @bubble
    async def main() -> None:
        await asyncio.gather(stuck(), asyncio.to_thread(asyncio.run, stuck()))

    with pytest.raises(Deadlock) as caught:
        main()
    assert str(caught.value).count("stuck(), at testing/test_bubble.py") >= 2


def test_a_bubble_may_be_opened_in_a_thread() -> None:
    seen: list[float] = []

    @bubble
    def test() -> None:
        time.sleep(60.0)
        seen.append(time.monotonic())

    thread = threading.Thread(target=test)
    thread.start()
    thread.join(LONG)
    assert seen == [60.0]


def test_asyncio_in_debug_mode() -> None:
    async def main() -> float:
        assert asyncio.get_running_loop().get_debug()
        await asyncio.gather(asyncio.sleep(5.0), asyncio.to_thread(time.sleep, 7.0))
        return time.monotonic()

    with bubble():
        assert asyncio.run(main(), debug=True) == 7.0


# -- time ------------------------------------------------------------------------------


def test_deadlines_and_timeouts_are_exact() -> None:
    @bubble
    async def main() -> float:
        with pytest.raises(TimeoutError), background().with_timeout(5.0):
            await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.Event().wait()
        return time.monotonic()

    assert main() == 10.0


def test_sleepers_of_both_kinds_wake_in_order() -> None:
    seen: list[float] = []

    async def task(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append(seconds)

    def thread(seconds: float) -> None:
        time.sleep(seconds)
        seen.append(seconds)

    @bubble
    async def main() -> None:
        await asyncio.gather(
            *(task(3.0), asyncio.to_thread(thread, 2.0)),
            *(task(1.0), asyncio.to_thread(thread, 4.0)),
        )

    main()
    assert seen == [1.0, 2.0, 3.0, 4.0]


def test_functions_that_take_now_by_default_take_that_of_the_bubble() -> None:
    with bubble():
        time.sleep(86_400.0)
        for now in (time.gmtime(), time.gmtime(None), time.gmtime(time.time())):
            assert now[:5] == (2000, 1, 2, 0, 0)
        local = time.localtime(EPOCH + 86_400.0)
        assert time.localtime() == local
        assert time.strftime("%Y %j") == time.strftime("%Y %j", local)
        assert time.ctime() == time.asctime() == time.asctime(local)
    assert time.gmtime().tm_year > 2020


def test_dates_are_of_the_real_classes() -> None:
    real, real_date = dt.datetime, dt.date
    with bubble():
        for one in (dt.datetime.now(), dt.datetime(2001, 2, 3)):
            assert type(one) is real
            assert isinstance(one, dt.datetime) and isinstance(one, dt.date)
            assert not isinstance(one.date(), dt.datetime)
        assert type(dt.date.today()) is real_date
        assert issubclass(real, dt.datetime)
        assert dt.datetime.fromisoformat("2000-01-01") < dt.datetime(2001, 1, 1)

        class Mine(dt.datetime):
            pass

        assert type(Mine.now()) is Mine
        assert not isinstance(real(2000, 1, 1), Mine)
    assert dt.datetime.now() > real(2020, 1, 1)
    assert Mine.now() > real(2020, 1, 1)


def test_a_name_that_was_taken_inside_is_real_outside_and_right_in_the_next() -> None:
    module = types.ModuleType("loaded_inside")
    kept: list[Callable[[], float]] = []
    with bubble():
        exec("from time import monotonic, sleep", vars(module))
        kept.append(time.monotonic)
        assert module.monotonic() == 0.0
    assert kept[0]() - time.monotonic() < LONG
    assert kept[0]() > 0.0
    with bubble():
        module.sleep(5.0)
        assert kept[0]() == module.monotonic() == time.monotonic() == 5.0


# -- wait ------------------------------------------------------------------------------


def test_wait_returns_when_all_others_wait_and_time_stands() -> None:
    steps: list[str] = []

    def thread() -> None:
        steps.append("thread")
        time.sleep(5.0)
        steps.append("late")

    async def task() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        steps.append("task")
        await asyncio.sleep(5.0)

    @bubble
    async def main() -> None:
        work = asyncio.gather(task(), asyncio.to_thread(thread))
        await wait_async()
        assert sorted(steps) == ["task", "thread"]
        assert time.monotonic() == 0.0
        await work

    main()
    with bubble():
        steps.clear()
        worker = threading.Thread(target=thread)
        worker.start()
        wait()
        assert (steps, time.monotonic()) == (["thread"], 0.0)
        worker.join()


def test_wait_is_for_the_inside_and_for_the_test_itself() -> None:
    with pytest.raises(RuntimeError, match="inside a bubble"):
        wait()

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await wait_async\(\)"):
            wait()
        with pytest.raises(RuntimeError, match="not for its threads"):
            await asyncio.to_thread(wait)

    bubble(main)()

    async def outside() -> None:
        with pytest.raises(RuntimeError, match="inside a bubble"):
            await wait_async()

    asyncio.run(outside())


# -- what goes wrong inside ------------------------------------------------------------


def test_an_error_comes_out_and_nothing_stays() -> None:
    @bubble
    async def coroutine() -> None:
        raise KeyError("mine")

    @bubble
    def plain() -> None:
        raise KeyError("mine")

    for test in (coroutine, plain):
        with pytest.raises(KeyError, match="mine"):
            test()
        assert names() == REAL


def test_ctrl_c_comes_out_and_nothing_stays() -> None:
    async def task() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(3600.0)

    @bubble
    def plain() -> None:
        timer = threading.Timer(5.0, signal.raise_signal, [signal.SIGINT])
        timer.start()
        threading.Event().wait(3600.0)

    for test in (bubble(task), plain):
        with pytest.raises(KeyboardInterrupt):
            test()
        assert names() == REAL


def test_a_deadlock_names_tasks_and_threads() -> None:
    gates: list[threading.Event] = []

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    @bubble
    async def main() -> None:
        gates.append(threading.Event())
        other = asyncio.create_task(waits(), name="other")
        await asyncio.sleep(3.0)
        await asyncio.to_thread(gates[0].wait)
        other.cancel()

    with pytest.raises(Deadlock) as caught:
        main()
    gates[0].set()
    text = str(caught.value)
    assert "at 3 s everything waits and no timer is set" in text
    assert "task other: waits(), at testing/test_bubble.py:" in text
    assert "main(), at testing/test_bubble.py:" in text
    assert "thread asyncio_0, at " in text


def test_a_task_that_spins_is_reported() -> None:
    @bubble(patience=0.05)
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spinning, match=r"(?s)without waiting.*main\(\)"):
        main()


def test_a_thread_that_spins_is_reported() -> None:
    over = threading.Event()

    def spin() -> None:
        while not over.is_set():
            pass

    @bubble(patience=0.05)
    async def main() -> None:
        await asyncio.to_thread(spin)

    try:
        with pytest.raises(Spinning, match="thread asyncio_0"):
            main()
    finally:
        over.set()


def test_a_task_left_over_is_reported_and_one_that_ends_by_itself_is_not() -> None:
    kept: list[Any] = []

    async def soon() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    @bubble
    async def main() -> None:
        kept.append(asyncio.create_task(soon(), name="soon"))
        kept.append(asyncio.create_task(asyncio.sleep(60.0), name="forgotten"))

    with pytest.raises(Unfinished) as caught:
        main()
    assert "task forgotten: sleep()" in str(caught.value)
    assert "soon" not in str(caught.value)
    assert kept[1].cancelled()


def test_a_loop_left_open_is_reported() -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    with pytest.raises(Unfinished, match="an event loop that is not closed"):
        with bubble():
            loops.append(asyncio.new_event_loop())
    loops[0].close()


def test_work_that_was_given_up_ends_before_the_loop_closes() -> None:
    ended: list[float] = []

    def work() -> None:
        select.select([], [], [], 0.3)  # longer than grace
        ended.append(time.monotonic())

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        task.cancel()

    with bubble():
        asyncio.run(main())
        # Not at the limit of 300 seconds that asyncio sets its executor.
        assert ended == [0.0]


def test_the_instant_of_a_deadlock_is_not_that_of_a_timeout_that_was_not_needed() -> (
    None
):
    with bubble():
        items: queue.Queue[int] = queue.Queue()
        feeder = threading.Timer(5.0, items.put, [1])
        feeder.start()
        assert items.get(timeout=3600.0) == 1
        feeder.join()
        with pytest.raises(Deadlock, match="at 5 s everything waits"):
            items.get()


# -- what is refused -------------------------------------------------------------------


def test_wrong_input_is_refused() -> None:
    for name in ("grace", "patience"):
        with pytest.raises(ValueError, match=f"{name} is 0 or more seconds"):
            bubble(**{name: -1.0})
        with pytest.raises(ValueError, match=name):
            bubble(**{name: float("nan")})
        with pytest.raises(TypeError, match=name):
            bubble(**{name: "1"})  # type: ignore[call-overload]
    for wrong in (5, "test", TestOfAClass):
        with pytest.raises(TypeError, match="takes a function, not"):
            bubble(wrong)  # type: ignore[arg-type]

    def generator() -> Iterator[None]:
        yield

    async def asynchronous() -> AsyncIterator[None]:
        yield

    for one in (generator, asynchronous):
        with pytest.raises(TypeError, match=r"with bubble\(\): yield"):
            bubble(one)


def test_a_coroutine_that_would_run_after_the_bubble_is_refused() -> None:
    async def main() -> None: ...

    @wraps(main)
    def decorated() -> Any:
        return main()

    with pytest.raises(TypeError, match="directly above its async def"):
        bubble(decorated)()


def test_bubbles_do_not_nest_and_are_entered_once() -> None:
    one = bubble()
    for outer in (one, VirtualClock()):
        with outer, pytest.raises(RuntimeError, match="they do not nest"):
            bubble().__enter__()
    with pytest.raises(RuntimeError, match="entered once"):
        one.__enter__()
    with bubble(), pytest.raises(RuntimeError, match="one at a time"):
        VirtualClock().__enter__()


def test_two_threads_do_not_have_one_at_the_same_time() -> None:
    refused: list[str] = []

    def other() -> None:
        try:
            bubble().__enter__()
        except RuntimeError as exc:
            refused.append(str(exc))

    with bubble():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "only one at a time" in refused[0]


def test_a_running_loop_is_refused() -> None:
    @bubble
    async def inner() -> None: ...

    async def outer() -> None:
        with pytest.raises(RuntimeError, match="take the asyncio marker"):
            inner()
        with pytest.raises(RuntimeError, match="not opened in a running event loop"):
            bubble().__enter__()

    asyncio.run(outer())


def test_loops_of_another_kind_are_refused() -> None:
    async def main() -> None: ...

    coro = main()
    with bubble(), pytest.raises(RuntimeError, match=r"uvloop\.Loop .* no uvloop"):
        uvloop.run(coro)
    coro.close()
    with bubble(), pytest.raises(RuntimeError, match=r"uvloop\.new_event_loop"):
        uvloop.new_event_loop()
    with bubble(), pytest.raises(RuntimeError, match=r"trio\.run\(\) does not run"):
        trio.run(main)
    with bubble(), asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        with pytest.raises(RuntimeError, match="no loop_factory"):
            runner.run(main())
    with asyncio.Runner() as older:
        older.get_loop()
        for refused in (lambda: older.run(main()), lambda: older.get_loop()):
            with bubble(), pytest.raises(RuntimeError, match="time is another"):
                refused()
    with bubble(), asyncio.Runner() as runner:
        runner.get_loop()
        # Not even asyncio's own, by hand.
        loop = asyncio.SelectorEventLoop()
        with pytest.raises(RuntimeError, match="does not run inside"):
            loop.run_forever()
        loop.close()
