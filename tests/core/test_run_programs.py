"""run, seen from outside: real programs, real signals, their last words and statuses."""

from __future__ import annotations

import os
import signal

import pytest

from tests.core.children import child
from tests.core.support import LONG

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="needs signals between processes"
)

TERM, INT = signal.SIGTERM, signal.SIGINT
LOOPS = ["asyncio", "uvloop"]

SERVICE = """
detached = WaitGroup(background())

def blocked(ctx):
    inside.set()
    in_c(1000)

async def worker(ctx, n):
    try:
        with ctx.with_cancel():
            await asyncio.sleep(1000)
    except Canceled as exc:
        say("worker", n, exc.__cause__)

async def capture(ctx):
    await asyncio.sleep(1000 if STUCK else 0.05)
    say("captured")

async def main(ctx):
    workers = [asyncio.create_task(worker(ctx, n)) for n in (1, 2)]
    if BLOCKED:
        asyncio.create_task(to_thread(ctx, blocked, abandon=True))
        await asyncio.get_running_loop().run_in_executor(None, inside.wait)
    with ctx.with_value(Key("user"), "ann").with_cancel(label="POST /payments") as request:
        detached.go_with(request, capture)
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


@pytest.mark.parametrize("loop", LOOPS)
def test_a_service_ends_in_order(loop: str) -> None:
    with child(service(drain=LONG), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert sorted(lines[:2]) == [
        "worker 1 SIGTERM received",
        "worker 2 SIGTERM received",
    ]
    assert lines[2:] == [
        "main is over",
        "captured",
        "run is over",
    ]
    assert (status, err) == (143, "")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_service_that_cannot_end_is_reported_and_leaves(loop: str) -> None:
    with child(service(blocked=True, stuck=True, drain=0.3), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert lines[-1] == "main is over"  # run never came back
    assert status == 143
    # What is detached is named as such, and its task with the await that it is in.
    assert "3 still running 0.3 s after SIGTERM; leaving with status 143:" in err
    assert "task capture: capture(), at " in err
    assert "blocked() (abandoned), at <string>" in err
    assert "detached capture [POST /payments], started at <string>:" in err


@pytest.mark.parametrize("loop", LOOPS)
def test_a_main_thread_that_is_quicker_than_the_listener_reports_the_same(
    loop: str,
) -> None:
    late = "tether._program.Program._overdue = lambda program: None\n"
    with child(late + service(stuck=True, drain=0.2), loop) as program:
        assert program.line() == "ready"
        program.send(TERM)
        status, lines, err = program.end()
    assert (status, lines[-1]) == (143, "main is over")
    assert "2 still running 0.2 s after SIGTERM; leaving with status 143:" in err
    assert "task capture: capture(), at " in err
    assert "detached capture [POST /payments], started at <string>:" in err
    assert "nobody asked for its error" not in err  # nothing was canceled


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


@pytest.mark.parametrize("loop", LOOPS)
def test_two_at_once(loop: str) -> None:
    with child(service(blocked=True, drain=LONG), loop) as program:
        assert program.line() == "ready"
        program.send(TERM, INT)
        status, _, err = program.end()
    assert status in {128 + TERM, 128 + INT}
    assert "the second signal" in err


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
        said = sorted([program.line(), program.line()])
        assert said[0] == "child"
        os.kill(int(said[1].split()[1]), TERM)
        assert program.end() == (0, ["died of 15 False"], "")


def test_a_first_signal_while_detached_work_is_waited_for() -> None:
    source = """
    class Owner:
        def _tether_left(self):
            return ["capture()"]

    def main(ctx):
        global owner
        owner = Owner()
        tether._left.announce(owner)
        say("main is over")

    run(main, drain=1.5)
    say("never reached")
    """
    with child(source) as program:
        assert program.line() == "main is over"
        program.send(TERM)
        status, lines, err = program.end()
    assert (status, lines) == (143, [])
    assert "1 still running 1.5 s after SIGTERM" in err
    assert "detached capture()" in err
