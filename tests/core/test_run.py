"""run: a program, its signals, and what ends in which order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn

import pytest

from tests.core.children import child
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
LOOPS = ["asyncio", *(["uvloop"] if sys.platform != "win32" else [])]

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


# -- programs --------------------------------------------------------------------------

SERVICE = """
class Owner:
    lines = []
    def _tether_left(self):
        return list(self.lines)

def blocked(ctx):
    inside.set()
    in_c(1000)

async def worker(ctx, n):
    try:
        with ctx.with_cancel():
            await asyncio.sleep(1000)
    except Canceled as exc:
        say("worker", n, exc.__cause__)

async def capture():
    await asyncio.sleep(0.05)
    say("captured")
    Owner.lines.clear()

async def main(ctx):
    global owner
    owner = Owner()
    from tether import _left
    _left.announce(owner)
    workers = [asyncio.create_task(worker(ctx, n)) for n in (1, 2)]
    if BLOCKED:
        asyncio.create_task(to_thread(ctx, blocked, abandon=True))
        await asyncio.get_running_loop().run_in_executor(None, inside.wait)
    Owner.lines.append("capture() [POST /payments]")
    if not STUCK:
        pieces = [asyncio.create_task(capture())]
    say("ready")
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.wait(workers)
        say("main is over")

inside = threading.Event()
try:
    run(main, drain=DRAIN, loop_factory=loop_factory)
finally:
    say("run is over")
"""


def service(*, blocked: bool = False, stuck: bool = False, drain: float) -> str:
    return f"BLOCKED, STUCK, DRAIN = {blocked}, {stuck}, {drain}\n{SERVICE}"


@posix
@pytest.mark.parametrize("loop", LOOPS)
def test_a_service_ends_in_order(loop: str) -> None:
    with child(service(drain=LONG), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert lines == [
        "worker 1 SIGTERM received",
        "worker 2 SIGTERM received",
        "main is over",
        "captured",
        "run is over",
    ]
    assert (status, err) == (143, "")


@posix
@pytest.mark.parametrize("loop", LOOPS)
def test_a_service_that_cannot_end_is_reported_and_leaves(loop: str) -> None:
    with child(service(blocked=True, stuck=True, drain=0.3), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert lines[-1] == "main is over"  # run never came back
    assert status == 143
    assert "2 still running 0.3 s after SIGTERM; leaving with status 143:" in err
    assert "blocked() (abandoned), at <string>" in err
    assert "detached capture() [POST /payments]" in err


@posix
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("second", [TERM, INT])
def test_a_second_signal_leaves_at_once(loop: str, second: int) -> None:
    with child(service(blocked=True, drain=LONG), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        while program.line() != "main is over":
            pass
        program.send(second)
        status, _, err = program.end()
    assert status == 128 + second
    assert f"{signal.Signals(second).name}, the second signal: leaving at once" in err


@posix
@pytest.mark.parametrize("loop", LOOPS)
def test_two_at_once(loop: str) -> None:
    with child(service(blocked=True, drain=LONG), loop) as program:
        assert program.line() == "ready"
        program.send(TERM, INT)
        status, _, err = program.end()
    assert status in {128 + TERM, 128 + INT}
    assert "the second signal" in err


@posix
@pytest.mark.parametrize("signum", [TERM, INT])
def test_a_main_that_is_blocked_in_c_does_not_hold_it_up(signum: int) -> None:
    source = """
    def main(ctx):
        # Signals go to a thread of which Python knows nothing to do with them.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        say("ready")
        in_c(1000)

    run(main, drain=0.2)
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(signum)
        status, _, err = program.end()
    assert status == 128 + signum
    assert f"1 still running 0.2 s after {signal.Signals(signum).name}" in err
    assert "thread MainThread: main(), at <string>" in err
    assert "in in_c" in err


@posix
def test_a_second_signal_ends_a_main_that_is_blocked_in_c() -> None:
    source = """
    def main(ctx):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        ctx.after_func(lambda: say("canceled", ctx.cause()))
        say("ready")
        in_c(1000)

    run(main, drain=1000)
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        assert program.line() == "canceled SIGTERM received"
        program.send(TERM)
        status, _, err = program.end()
    assert status == 143
    assert "the second signal" in err


@posix
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_is_blocked_is_named(loop: str) -> None:
    source = """
    async def main(ctx):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        say("ready")
        in_c(1000)

    run(main, drain=0.2, loop_factory=loop_factory)
    """
    with child(source, loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, _, err = program.end()
    assert status == 143
    assert "main(), at <string>" in err


@posix
@pytest.mark.parametrize("loop", LOOPS)
def test_a_signal_during_start_up(loop: str) -> None:
    """Main is called and sees it, or is not begun."""
    source = """
    def sooner():
        os.kill(os.getpid(), signal.SIGTERM)
        return (loop_factory or asyncio.new_event_loop)()

    async def main(ctx):
        say("never begun")

    run(main, loop_factory=sooner)
    """
    with child(source, loop) as program:
        status, lines, err = program.end()
    assert (status, lines, err) == (143, [], "")


@posix
def test_sigint_in_a_plain_main_is_a_keyboard_interrupt() -> None:
    source = """
    def main(ctx):
        say("ready")
        try:
            ctx.sleep(1000)
        finally:
            say("clean")

    try:
        run(main)
    except KeyboardInterrupt:
        say("caught")
        raise
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(INT)
        status, lines, err = program.end()
    assert lines == ["clean", "caught"]
    assert status == -INT  # died of it, as shells expect
    assert err.rstrip().endswith("KeyboardInterrupt")


@posix
def test_a_thread_that_would_hold_up_the_interpreter_does_not() -> None:
    source = """
    def main(ctx):
        threading.Thread(target=in_c, args=(1000,), name="stuck").start()
        say("ready")
        ctx.wait()
        say("over")

    run(main, drain=0.2)
    say("never reached")
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert (status, lines) == (143, ["over"])
    assert "thread stuck, at <string>" in err


@posix
def test_idle_threads_of_an_executor_do_not_count() -> None:
    source = """
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(3)

    def main(ctx):
        list(pool.map(abs, range(10)))
        say("ready")
        ctx.wait()

    run(main, drain=1000)
    say("over")
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        assert program.end() == (0, ["over"], "")


@posix
def test_a_report_that_hangs_does_not_hold_it_up() -> None:
    source = """
    import logging
    class Stuck(logging.Handler):
        def emit(self, record):
            time.sleep(1000)
    logging.getLogger().addHandler(Stuck())

    def main(ctx):
        say("ready")
        while True:
            time.sleep(1000)

    run(main, drain=0.1)
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, _, err = program.end()
    assert status == 143
    assert "1 still running 0.1 s after SIGTERM" in err


@posix
def test_a_server_that_takes_the_signals_for_itself() -> None:
    """uvicorn drains, and hands the signal on when it has put the handlers back."""
    source = """
    import uvicorn

    async def app(scope, receive, send):
        raise NotImplementedError

    async def main(ctx):
        config = uvicorn.Config(app, port=0, lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        say("ready")
        await serving
        say("served", ctx.cause())

    run(main, drain=1000)
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        assert program.end() == (0, ["served SIGTERM received"], "")


@posix
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_no_part_of_the_program() -> None:
    source = """
    import warnings
    warnings.simplefilter("ignore")

    def main(ctx):
        pid = os.fork()
        if pid == 0:
            say("child")
            signal.pause()
        say("parent", pid)
        status = os.waitpid(pid, 0)[1]
        say("died of", os.WTERMSIG(status), ctx.done())

    run(main)
    """
    with child(source) as program:
        said = {program.line(), program.line()}
        said.remove("child")
        os.kill(int(said.pop().split()[1]), TERM)
        assert program.end() == (0, ["died of 15 False"], "")
