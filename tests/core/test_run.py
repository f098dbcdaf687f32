"""run: a program, its signals, and what ends in which order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    _left,
    abandoned,
    background,
    current,
    run,
    to_thread,
)
from tether.signals import Signaled

TERM, INT = signal.SIGTERM, signal.SIGINT

posix = pytest.mark.skipif(os.name == "nt", reason="needs signals between processes")


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR)
    return caplog


# -- main ----------------------------------------------------------------------------


def test_it_returns_what_main_returns() -> None:
    def plain(ctx: Context, a: int, b: int = 2) -> tuple[int, bool]:
        assert threading.current_thread() is threading.main_thread()
        return a + b, current() is ctx

    async def coroutine(ctx: Context, a: int, b: int = 2) -> tuple[int, bool]:
        await ctx.sleep_async(0.0)
        return a + b, current() is ctx

    assert run(plain, 1) == (3, True)
    assert run(plain, 1, 3) == (4, True)
    assert run(coroutine, 1) == (3, True)
    assert run(coroutine, 1, 3) == (4, True)
    assert run(lambda ctx: coroutine(ctx, 5)) == (7, True)
    assert current() is background()


def test_it_runs_on_the_loop_that_it_is_given(run: Run) -> None:
    from tether import run as tether_run

    made: list[asyncio.AbstractEventLoop] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(run.new_loop())
        return made[-1]

    async def main(ctx: Context) -> bool:
        return asyncio.get_running_loop() is made[0]

    assert tether_run(main, loop_factory=factory)
    assert made[0].is_closed()


@pytest.mark.parametrize("kind", [KeyError, SystemExit, KeyboardInterrupt])
def test_the_error_of_main_is_raised_as_it_is(kind: type[BaseException]) -> None:
    error = kind("mine")

    def plain(ctx: Context) -> NoReturn:
        raise error

    async def coroutine(ctx: Context) -> NoReturn:
        await asyncio.sleep(0)
        raise error

    for main in (plain, coroutine):
        with pytest.raises(kind) as caught:
            run(main)
        assert caught.value is error


def test_the_context_is_over_when_main_is() -> None:
    seen: list[Any] = []

    def plain(ctx: Context) -> None:
        seen.append(ctx)

    async def coroutine(ctx: Context) -> None:
        seen.append(ctx)

    run(plain)
    run(coroutine)
    assert all(isinstance(ctx.err(), Canceled) for ctx in seen)
    assert "test_run.py" in seen[0].err().detail


def test_a_deadline_of_main_is_its_own() -> None:
    async def main(ctx: Context) -> None:
        with ctx.with_timeout(0.001):
            await asyncio.sleep(LONG)

    with pytest.raises(DeadlineExceeded):
        run(main)


# -- what is left on the loop ----------------------------------------------------------


def test_tasks_generators_and_the_executor_are_ended() -> None:
    steps: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0)
            steps.append("task")

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            steps.append("generator")

    async def main(ctx: Context) -> None:
        tasks.append(asyncio.create_task(forever()))
        generators.append(items())
        assert await anext(generators[0]) == 1
        tasks.append(asyncio.get_running_loop().run_in_executor(None, work))
        assert inside.wait(LONG)

    def work() -> None:
        inside.set()
        assert go.wait(LONG)
        steps.append("executor")

    tasks: list[Any] = []
    generators: list[AsyncIterator[int]] = []
    inside, go = threading.Event(), threading.Event()
    threading.Timer(0.05, go.set).start()
    run(main)
    assert steps == ["task", "generator", "executor"]
    assert tasks[0].cancelled()


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_a_failure_of_a_task_that_nobody_awaits_is_not_lost(
    errors: pytest.LogCaptureFixture,
) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(LONG)
        finally:
            raise KeyError("in the cleanup")

    async def main(ctx: Context) -> None:
        kept.append(asyncio.create_task(fails()))
        await asyncio.sleep(0)

    kept: list[Any] = []
    run(main)
    assert "during the shutdown of tether.run()" in errors.text
    assert "in the cleanup" in errors.text


@pytest.mark.parametrize("plain", [True, False])
def test_detached_work_is_waited_for_before_the_tasks_are_canceled(plain: bool) -> None:
    class Owner:
        def __init__(self) -> None:
            self.names = {"capture()"}

        def _tether_left(self) -> Iterable[str]:
            return [*self.names]

    owner = Owner()
    steps: list[object] = []

    async def piece() -> None:
        await asyncio.sleep(0.03)
        steps.append("captured")
        owner.names.clear()

    async def main(ctx: Context) -> None:
        _left.announce(owner)
        steps.append(asyncio.create_task(piece()))

    def in_a_thread(ctx: Context) -> None:
        _left.announce(owner)
        threading.Timer(
            0.03, lambda: (steps.append("captured"), owner.names.clear())
        ).start()

    run(in_a_thread if plain else main)
    assert steps[-1] == "captured"


def test_an_owner_that_is_gone_or_fails_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Owner:
        def _tether_left(self) -> Iterable[str]:
            raise KeyError("broken")

    seen: list[type[BaseException]] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: seen.append(args.exc_type)
    )

    def main(ctx: Context) -> None:
        owner = Owner()
        gone.append(weakref.ref(owner))
        _left.announce(owner)
        _left.announce(owner)

    gone: list[weakref.ref[Owner]] = []
    run(main)
    assert gone[0]() is None
    assert seen == []
    broken = Owner()
    _left.announce(broken)
    run(lambda ctx: None, drain=0.0)
    assert seen == []  # it was there before, and is no part of this program
    other = Owner()

    def announces(ctx: Context) -> None:
        _left.announce(other)

    run(announces, drain=0.0)
    assert KeyError in seen


@pytest.mark.tether_leaks(off=True)  # that is what it is about
def test_what_is_left_after_the_drain_is_named_and_run_returns(
    errors: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()

    class Owner:
        def _tether_left(self) -> Iterable[str]:
            return [] if release.is_set() else ["capture() [POST /payments]"]

    owner = Owner()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                continue

    def blocked(ctx: Context) -> None:
        inside.wait(LONG)
        release.wait(LONG)

    def in_the_executor() -> None:
        inside.wait(LONG)
        release.wait(LONG)

    inside = threading.Barrier(3)

    async def main(ctx: Context) -> str:
        _left.announce(owner)
        loop = asyncio.get_running_loop()
        made.append(asyncio.create_task(stubborn(), name="worker-7"))
        made.append(loop.run_in_executor(None, in_the_executor))
        made.append(asyncio.create_task(to_thread(ctx, blocked, abandon=True)))
        await loop.run_in_executor(None, inside.wait, LONG)
        return "returned"

    made: list[Any] = []
    assert run(main, drain=0.1) == "returned"
    (record,) = [one for one in errors.records if one.name == "tether"]
    text = record.getMessage()
    assert (
        "4 still running 0.1 s after the end of main(); run() returns without" in text
    )
    for line in (
        "task worker-7: stubborn(), at ",
        "blocked() (abandoned), at ",
        "thread asyncio_",
        "detached capture() [POST /payments]",
    ):
        assert line in text
    made[0]._log_destroy_pending = False
    release.set()
    while abandoned():
        time.sleep(0.001)


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"drain": -1.0}, ValueError, "0 or more, not -1.0"),
        ({"drain": float("nan")}, ValueError, "NaN"),
        ({"drain": "1"}, TypeError, "number of seconds"),
        ({"signals": 15}, TypeError, "not iterable"),
        ({"signals": ["SIGTERM"]}, TypeError, "not a signal"),
        ({"signals": [True]}, TypeError, "not a signal"),
        ({"signals": [0]}, ValueError, "not a signal"),
        ({"signals": [TERM, 4711]}, ValueError, "not a signal"),
        ({"loop_factory": 7}, TypeError, "function to call"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    before = signal.getsignal(TERM)
    with pytest.raises(kind, match=text):
        run(lambda ctx: ctx, **options)
    assert signal.getsignal(TERM) is before


@posix
def test_signals_that_cannot_be_handled_are_refused() -> None:
    with pytest.raises(ValueError, match="not a signal that a program can handle"):
        run(lambda ctx: ctx, signals=[TERM, signal.SIGKILL])


def test_main_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="run takes a function to call"):
        run(None)  # type: ignore[call-overload]


def test_on_a_loop_it_says_what_to_do() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="with with_signals"):
            run(lambda ctx: ctx)

    asyncio.run(main())


def test_inside_itself_it_says_what_to_do() -> None:
    def outer(ctx: Context) -> int:
        with pytest.raises(RuntimeError, match="call the function with the ctx"):
            run(lambda inner: inner)
        return run(lambda inner: 7, signals=())

    assert run(outer) == 7


def test_in_another_thread_it_runs_without_signals_only() -> None:
    def body() -> int:
        with pytest.raises(RuntimeError, match=r"run\(\) there, or pass signals=\(\)"):
            run(lambda ctx: ctx)
        return run(lambda ctx: 7, signals=()) + asyncio_too()

    def asyncio_too() -> int:
        async def main(ctx: Context) -> int:
            return await to_thread(ctx, lambda _: 1)

        return run(main, signals=())

    assert start(body).result(LONG) == 8


def test_a_loop_that_cannot_be_made_leaves_nothing() -> None:
    def fails() -> asyncio.AbstractEventLoop:
        raise OSError("no descriptors")

    async def main(ctx: Context) -> None: ...

    with pytest.raises(OSError, match="no descriptors"):
        run(main, loop_factory=fails)


# -- signals in this process -----------------------------------------------------------


def test_a_main_that_returns_has_ended_well() -> None:
    def main(ctx: Context) -> str:
        signal.raise_signal(TERM)
        with pytest.raises(Canceled) as caught:
            ctx.sleep(LONG)
        assert isinstance(caught.value.__cause__, Signaled)
        assert ctx.cause() is caught.value.__cause__
        assert str(ctx.cause()) == "SIGTERM received"
        assert "SIGTERM received" in caught.value.detail
        return "in order"

    assert run(main) == "in order"


@pytest.mark.parametrize("coroutine", [False, True])
@pytest.mark.parametrize(("signum", "status"), [(TERM, 143), (INT, None)])
def test_a_main_that_was_interrupted_has_not(
    coroutine: bool, signum: int, status: int | None
) -> None:
    def plain(ctx: Context) -> None:
        signal.raise_signal(signum)
        ctx.sleep(LONG)

    async def asynchronous(ctx: Context) -> None:
        signal.raise_signal(signum)
        await asyncio.sleep(LONG)

    main: Any = asynchronous if coroutine else plain
    with pytest.raises(KeyboardInterrupt if status is None else SystemExit) as caught:
        run(main)
    if status is not None:
        assert isinstance(caught.value, SystemExit)
        assert caught.value.code == status


def test_a_group_of_interrupted_tasks_is_an_interruption() -> None:
    async def worker(ctx: Context) -> None:
        with ctx.with_timeout(LONG):
            await asyncio.sleep(LONG)

    async def main(ctx: Context) -> None:
        with ctx.without_cancel().with_cancel():  # asyncio's group may see the errors
            async with asyncio.TaskGroup() as group:
                group.create_task(worker(ctx))
                group.create_task(worker(ctx))
                await asyncio.sleep(0)
                signal.raise_signal(TERM)

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == 143


def test_another_error_after_a_signal_is_that_error() -> None:
    def main(ctx: Context) -> None:
        signal.raise_signal(TERM)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(main)

    def own(ctx: Context) -> None:
        with ctx.without_cancel().with_timeout(0.001) as mine:
            signal.raise_signal(TERM)
            mine.sleep(LONG)

    with pytest.raises(DeadlineExceeded):
        run(own)


def test_a_main_that_shields_itself_ends_when_it_wants() -> None:
    steps: list[str] = []

    async def main(ctx: Context) -> str:
        with ctx.without_cancel().with_cancel():
            signal.raise_signal(TERM)
            assert await ctx.wait_async()
            await asyncio.sleep(0.001)
            steps.append("drained")
        return "in order"

    assert run(main) == "in order"
    assert steps == ["drained"]


@pytest.mark.parametrize("fails", [False, True])
def test_the_handlers_are_those_from_before_afterwards(fails: bool) -> None:
    def mine(signum: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(TERM, mine)
    interrupt = signal.getsignal(INT)
    fd = signal.set_wakeup_fd(-1)
    try:

        def main(ctx: Context) -> None:
            assert signal.getsignal(TERM) is not mine
            signal.raise_signal(TERM)
            assert ctx.done()
            if fails:
                raise KeyError

        if fails:
            with pytest.raises(KeyError):
                run(main)
        else:
            run(main)
        assert signal.getsignal(TERM) is mine
        assert signal.getsignal(INT) is interrupt
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(TERM, before)
        signal.set_wakeup_fd(fd)


def test_a_descriptor_that_somebody_else_has_set_stays() -> None:
    read, write = socket.socketpair()
    with read, write:
        write.setblocking(False)
        before = signal.set_wakeup_fd(write.fileno())
        try:

            def main(ctx: Context) -> bool:
                signal.raise_signal(TERM)
                return ctx.done()

            assert run(main)
            assert read.recv(1)[0] == TERM
            assert signal.set_wakeup_fd(before) == write.fileno()
        finally:
            signal.set_wakeup_fd(before)


def test_a_handler_that_main_has_set_stays_and_its_signals_are_its_own() -> None:
    seen: list[int] = []

    def mine(signum: int, frame: object) -> None:
        seen.append(signum)

    def main(ctx: Context) -> bool:
        signal.signal(TERM, mine)
        signal.raise_signal(TERM)
        signal.raise_signal(TERM)
        return ctx.done()

    before = signal.getsignal(TERM)
    try:
        assert run(main) is False
        assert seen == [TERM, TERM]
        assert signal.getsignal(TERM) is mine
    finally:
        signal.signal(TERM, before)
