"""What threads wait in goes by the clock of their bubble; the threads of others do not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from tests.core.support import LONG
from tether import Context, DeadlineExceeded, Group, background, to_thread
from tether.testing import Deadlock, Spinning, Unfinished, _pace, bubble, wait

CHILD = [sys.executable, "-c", "import time; time.sleep(0.3)"]


@contextmanager
def thread(work: Callable[[], object], name: str = "worker") -> Iterator[None]:
    one = threading.Thread(target=work, name=name)
    one.start()
    try:
        yield
    finally:
        one.join()


# -- timeouts --------------------------------------------------------------------------


def no_event() -> None:
    assert threading.Event().wait(5.0) is False


def no_condition() -> None:
    with (condition := threading.Condition()):
        assert condition.wait(5.0) is False


def no_predicate() -> None:
    with (condition := threading.Condition()):
        assert condition.wait_for(lambda: False, 5.0) is False


def no_permit() -> None:
    assert threading.Semaphore(0).acquire(timeout=5.0) is False


def no_other_party() -> None:
    with pytest.raises(threading.BrokenBarrierError):
        threading.Barrier(2).wait(5.0)


def no_item() -> None:
    with pytest.raises(queue.Empty):
        queue.Queue[int]().get(timeout=5.0)


def no_room() -> None:
    full: queue.Queue[int] = queue.Queue(1)
    full.put(1)
    with pytest.raises(queue.Full):
        full.put(2, timeout=5.0)


def no_result() -> None:
    with pytest.raises(TimeoutError):
        Future[int]().result(timeout=5.0)


def no_future() -> None:
    assert wait_for_futures([Future[int]()], timeout=5.0).done == set()


def no_end() -> None:
    over = threading.Event()
    with thread(over.wait):
        [worker] = [one for one in threading.enumerate() if one.name == "worker"]
        worker.join(5.0)
        assert worker.is_alive()
        over.set()


WAITS = [no_event, no_condition, no_predicate, no_permit, no_other_party, no_item]
WAITS += [no_room, no_result, no_future, no_end]


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_of_the_test_itself_comes_at_its_instant(
    bubble: object, wait: Callable[[], None]
) -> None:
    wait()
    assert time.monotonic() == 5.0


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_of_a_thread_comes_at_its_instant(wait: Callable[[], None]) -> None:
    @bubble
    async def main() -> float:
        await asyncio.to_thread(wait)
        return time.monotonic()

    assert main() == 5.0


def test_a_timer_fires_at_its_instant(bubble: object) -> None:
    seen: list[float] = []
    timer = threading.Timer(60.0, lambda: seen.append(time.monotonic()))
    timer.start()
    time.sleep(100.0)
    assert (seen, time.monotonic()) == ([60.0], 100.0)
    timer.join()


def test_who_is_notified_in_time_has_waited_until_then(bubble: object) -> None:
    items: queue.Queue[float] = queue.Queue()
    seen: list[float] = []

    def consume() -> None:
        for _ in range(3):
            put = items.get(timeout=10.0)
            seen.append(time.monotonic() - put)

    with thread(consume):
        for _ in range(3):
            time.sleep(7.0)
            items.put(time.monotonic())
    assert seen == [0.0, 0.0, 0.0]


def test_joins_and_results_wait_as_long_as_the_work_takes(bubble: object) -> None:
    with thread(lambda: time.sleep(10.0)):
        pass
    assert time.monotonic() == 10.0
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(time.sleep, seconds) for seconds in (1.0, 2.0, 4.0)]
        for future in futures:
            future.result()
        assert time.monotonic() == 15.0


# -- deadlines of tether ---------------------------------------------------------------


class Slow:
    """Takes its real time to be dropped."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self._sleep = sleep

    def __del__(self) -> None:
        self._sleep(0.1)


def test_the_clock_waits_for_a_thread_whose_variables_are_being_dropped() -> None:
    """It is on no list any more, and whoever joins it still waits."""
    real = time.sleep

    @bubble
    async def main() -> float:
        local = threading.local()

        def work() -> None:
            local.slow = Slow(real)

        def joins() -> None:
            with thread(work):
                pass

        async with asyncio.timeout(300.0):
            await asyncio.to_thread(joins)
        return time.monotonic()

    assert main() == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a guess")
def test_the_clock_waits_for_a_thread_of_the_system_that_python_has_done_with() -> None:
    """From Python 3.13 on, whoever joins it waits for this as well."""
    libc = ctypes.CDLL(None)
    key = ctypes.c_uint()
    sleeps = ctypes.cast(libc.usleep, ctypes.c_void_p)
    assert libc.pthread_key_create(ctypes.byref(key), sleeps) == 0

    def work() -> None:
        libc.pthread_setspecific(key, ctypes.c_void_p(100_000))

    def joins() -> None:
        with thread(work):
            pass

    @bubble
    async def main() -> float:
        async with asyncio.timeout(300.0):
            await asyncio.to_thread(joins)
        return time.monotonic()

    try:
        assert main() == 0.0
    finally:
        libc.pthread_key_delete(key)


def test_deadlines_end_waits_in_threads_at_their_instants(bubble: object) -> None:
    def work(ctx: Context, seconds: float) -> float:
        with pytest.raises(DeadlineExceeded), ctx.with_timeout(seconds) as mine:
            time.sleep(seconds / 2)
            mine.sleep(3600.0)
        return time.monotonic()

    with Group() as group:
        works = [group.go(work, seconds) for seconds in (30.0, 60.0)]
    assert [one.result() for one in works] == [30.0, 60.0]
    with pytest.raises(DeadlineExceeded), background().with_timeout(5.0) as ctx:
        ctx.sleep(10.0)
    assert time.monotonic() == 65.0


def test_deadlines_end_tasks_and_their_threads_at_their_instants() -> None:
    @bubble
    async def main() -> float:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(30.0) as ctx:
                await to_thread(ctx, lambda ctx: ctx.sleep(3600.0))
        return time.monotonic()

    assert main() == 30.0


# -- who is inside ---------------------------------------------------------------------


def test_a_worker_of_an_older_pool_is_inside_while_it_works_for_the_bubble() -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()
        with bubble():
            futures = [pool.submit(time.sleep, 10.0) for _ in range(6)]
            for future in futures:
                future.result(timeout=31.0)
            assert time.monotonic() == 30.0

        @bubble
        async def main() -> float:
            loop = asyncio.get_running_loop()
            works = [loop.run_in_executor(pool, time.sleep, 10.0) for _ in range(4)]
            await asyncio.gather(*works)
            return time.monotonic()

        assert main() == 20.0
        assert pool.submit(time.time).result() > 1_700_000_000.0


def test_an_idle_thread_of_tether_is_inside_while_it_works_for_the_bubble() -> None:
    async def warm() -> None:
        with background().with_cancel() as ctx:
            await to_thread(ctx, lambda ctx: None)

    asyncio.run(warm())

    @bubble
    async def main() -> float:
        with background().with_cancel() as ctx:
            await to_thread(ctx, lambda ctx: time.sleep(600.0))
        return time.monotonic()

    assert main() == 600.0


def test_threads_of_others_and_those_they_start_keep_real_time() -> None:
    ask, told = threading.Event(), list[float]()

    def tell() -> None:
        told.append(time.time())
        told.append(float(threading.Event().wait(0.001)))  # a real wait comes back

    def other() -> None:
        ask.wait(LONG)
        tell()
        child = threading.Thread(target=tell)
        child.start()
        child.join(LONG)

    one = threading.Thread(target=other)
    one.start()
    with bubble(grace=LONG):
        ask.set()
        one.join(LONG)
        assert time.time() == 946_684_800.0
        assert not one.is_alive()
    assert [at > 1_700_000_000.0 for at in told[::2]] == [True, True]
    assert told[1::2] == [0.0, 0.0]


def test_what_an_older_event_stands_for_may_come_from_outside() -> None:
    event, ask = threading.Event(), threading.Event()

    def other() -> None:
        ask.wait(LONG)
        select.select([], [], [], 0.05)
        event.set()

    with thread(other), bubble(grace=LONG):
        ask.set()
        assert event.wait(1.0)
        assert time.monotonic() == 0.0


# -- waits that stay real --------------------------------------------------------------


def test_while_the_test_waits_in_a_lock_the_others_go_on(bubble: object) -> None:
    lock = threading.Lock()

    def hold() -> None:
        with lock:
            time.sleep(50.0)

    with thread(hold):
        wait()
        with lock:
            assert time.monotonic() == 50.0


def test_while_the_test_reads_a_socket_the_others_go_on(bubble: object) -> None:
    here, there = socket.socketpair()

    def answer() -> None:
        time.sleep(50.0)
        there.send(b"x")

    with here, there, thread(answer):
        assert here.recv(1) == b"x"
        assert time.monotonic() == 50.0


async def test_a_server_with_a_loop_in_a_thread_goes_by_the_clock(
    bubble: object,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(5.0)
        await asyncio.to_thread(time.sleep, 5.0)
        told = str(time.monotonic()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told})

    config = uvicorn.Config(app, loop="asyncio", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with thread(lambda: server.run(sockets=[listener])):
            async with httpx.AsyncClient(timeout=60.0) as client:
                answer = await client.get(url)
            server.should_exit = True
    assert float(answer.text) == pytest.approx(10.0, abs=0.5)


def test_processes_take_their_real_time() -> None:
    with bubble():
        subprocess.run(CHILD, timeout=LONG, check=True)
        assert time.monotonic() == 0.0

    @bubble(grace=LONG)
    async def main() -> float:
        async with asyncio.timeout(1.0):
            await asyncio.to_thread(subprocess.run, CHILD, timeout=LONG, check=True)
            child = await asyncio.create_subprocess_exec(*CHILD)
            assert await child.wait() == 0
        return time.monotonic()

    assert main() == 0.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_real_time(bubble: object) -> None:
    here, there = os.pipe()
    time.sleep(60.0)
    child = os.fork()
    if not child:
        try:
            is_real = time.time() > 1_700_000_000.0
            time.sleep(0.001)
            is_real &= not threading.Event().wait(0.001)
            is_real &= background().with_timeout(0.001).wait(LONG)
            os.write(there, b"real" if is_real else b"not real")
        finally:
            os._exit(0)
    os.close(there)
    assert os.read(here, 100) == b"real"
    os.close(here)
    assert os.waitpid(child, 0) == (child, 0)
    assert time.monotonic() == 60.0


def test_a_thread_that_computes_until_an_instant_reaches_it_and_another_moves_nothing(
    bubble: object,
) -> None:
    def until(instant: float) -> None:
        while time.monotonic() < instant:
            pass

    def compute() -> None:
        end = time.thread_time() + 0.7  # longer than a clock that is read stands
        while time.thread_time() < end:
            pass

    with thread(compute):
        pass
    assert time.monotonic() == 0.0
    with thread(lambda: until(0.1)):
        pass
    assert time.monotonic() >= 0.1


# -- what goes wrong -------------------------------------------------------------------


def test_a_deadlock_names_the_threads_and_what_they_wait_in(bubble: object) -> None:
    event = threading.Event()
    worker = threading.Thread(target=event.wait, name="waits")
    worker.start()
    with pytest.raises(Deadlock) as caught:
        worker.join()
    text = str(caught.value)
    assert "at 0 s everything waits and no timer is set:" in text
    assert "thread MainThread, at testing/test_bubble_threads.py:" in text
    assert (
        "in test_a_deadlock_names_the_threads_and_what_they_wait_in (Thread.join)"
        in text
    )
    assert "thread waits, at " in text
    event.set()
    worker.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_deadlock_no_thread_stays_that_waits_for_ever() -> None:
    ended: list[str] = []
    started: list[threading.Thread] = []

    def work() -> None:
        try:
            queue.Queue[int]().get()
        finally:
            ended.append("finally")

    @bubble
    async def main() -> None:
        started.append(threading.Thread(target=work))
        started[0].start()
        await asyncio.to_thread(queue.Queue[int]().get)

    with pytest.raises(Deadlock):
        main()
    started[0].join(LONG)
    assert ended == ["finally"]
    assert not started[0].is_alive()  # and that of the pool: see no_thread_is_left


class StandardError:
    """Does something when it is written to."""

    def __init__(self, then: Callable[[], object]) -> None:
        self.told: list[str] = []
        self._then = then

    def write(self, text: str) -> None:
        self.told.append(text)
        self._then()


def test_a_deadlock_in_a_real_lock_is_told_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = threading.Lock()
    stderr = StandardError(lock.release)
    monkeypatch.setattr(_pace, "PATIENCE", 0.05)
    monkeypatch.setattr(sys, "stderr", stderr)
    with bubble(grace=0.0):
        lock.acquire()
        lock.acquire()  # nothing can be raised here
    assert "tether: at 0 s the test waits in something real" in stderr.told[0]
    assert (
        "in test_a_deadlock_in_a_real_lock_is_told_on_standard_error" in stderr.told[0]
    )


def test_a_test_that_computes_until_an_instant_is_told_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over: list[bool] = []
    stderr = StandardError(lambda: over.append(True))
    monkeypatch.setattr(sys, "stderr", stderr)
    with bubble(patience=0.05):
        while time.monotonic() < 5.0 and not over:
            pass
        assert time.monotonic() == 0.0
    assert "the test has gone on for 0.05 real seconds" in stderr.told[0]


def test_a_thread_that_never_waits_is_reported_to_the_test() -> None:
    over: list[bool] = []

    def spin() -> None:
        while not over:
            pass

    worker = threading.Thread(target=spin, name="spinner")
    with bubble(patience=0.05):
        worker.start()
        for wait_for_it in (worker.join, lambda: worker.join(3600.0), wait):
            with pytest.raises(Spinning, match=r"thread spinner, at .* in spin"):
                wait_for_it()
        over.append(True)
        worker.join()


def test_a_thread_that_is_left_is_reported() -> None:
    over: list[threading.Event] = []
    with pytest.raises(Unfinished, match="thread forgotten"):
        with bubble():
            over.append(threading.Event())
            worker = threading.Thread(target=over[0].wait, name="forgotten")
            worker.start()
    over[0].set()
    worker.join(LONG)


def test_who_still_waits_when_the_bubble_has_gone_waits_on() -> None:
    events: list[threading.Event] = []
    with pytest.raises(KeyError), bubble():
        events.append(threading.Event())
        worker = threading.Thread(target=events[0].wait)
        worker.start()
        wait()
        raise KeyError
    worker.join(0.01)
    assert worker.is_alive()
    events[0].set()
    worker.join(LONG)
    assert not worker.is_alive()
