"""Group in threads, with a plain `with`, and without a block, as Go's errgroup."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tether
from tests.core.support import LONG, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Group,
    background,
    current,
)
from tether.testing import VirtualClock


class Boom(Exception):
    pass


def give(ctx: Context, value: object) -> object:
    return value


def fail(ctx: Context, error: BaseException) -> None:
    raise error


def blocked(ctx: Context) -> None:
    ctx.sleep(LONG)


# -- the block -------------------------------------------------------------------


def test_the_block_waits_and_has_the_results() -> None:
    with Group() as group:
        assert current() is group.ctx
        handles = [group.go(give, number) for number in range(10)]
    assert [handle.result() for handle in handles] == list(range(10))
    assert group.ctx.done()
    assert current() is background()


def test_the_first_error_ends_the_rest_and_is_raised_bare() -> None:
    boom = Boom()
    with pytest.raises(Boom) as caught:
        with Group() as group:
            other = group.go(blocked)
            group.go(fail, boom)
            group.ctx.sleep(LONG)  # the body notices where it looks
    assert caught.value is boom
    assert boom.__context__ is None
    assert group.ctx.cause() is boom
    assert group.errors == [boom]
    assert isinstance(other.error, Canceled)


def test_an_end_from_above_that_a_child_reports_is_raised() -> None:
    with VirtualClock() as clock:

        def body() -> None:
            with background().with_timeout(1.0) as budget:
                with Group(budget) as group:
                    group.go(blocked)

        done = start(body)
        clock.advance(2.0)
        with pytest.raises(DeadlineExceeded):
            done.result(LONG)


def test_a_body_that_fails_ends_the_rest() -> None:
    with pytest.raises(Boom):
        with Group() as group:
            handle = group.go(blocked)
            raise Boom
    assert isinstance(handle.error, Canceled)


def test_threads_have_names_and_keep_the_program_alive() -> None:
    seen = []

    def look(ctx: Context) -> None:
        seen.append(
            (threading.current_thread().name, threading.current_thread().daemon)
        )

    def from_a_daemon() -> None:
        with Group() as group:
            group.go(look)

    start(from_a_daemon).result(LONG)
    ((name, daemon),) = seen
    assert name.startswith("Group: ")
    assert name.endswith("look")
    assert not daemon


def test_an_exit_in_a_thread_goes_through() -> None:
    with pytest.raises(SystemExit):
        with Group() as group:
            other = group.go(blocked)
            group.go(fail, SystemExit(3))
    assert isinstance(other.error, Canceled)


CTRL_C = """
import os, signal, sys, threading, time
from tether import Group, Canceled

def blocked(ctx):
    ready.set()
    try:
        ctx.sleep(60.0)
    except Canceled as exc:
        print("ended by", repr(exc.__cause__), flush=True)
        raise

ready, main = threading.Event(), threading.get_ident()
stat = f"/proc/self/task/{threading.get_native_id()}/stat"
def is_blocked():
    if sys._current_frames()[main].f_code.co_name != "block":
        return False
    with open(stat) as file:
        return file.read().rpartition(")")[2].split()[0] == "S"
def press():
    ready.wait()
    # A signal that meets a thread on its way into a lock is seen after the lock. One
    # that sleeps although nobody has the interpreter for so long is in it.
    looks = 0
    while looks < 20:
        time.sleep(0.005)
        looks = looks + 1 if is_blocked() else 0
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press).start()
try:
    with Group() as group:
        group.go(blocked)
except KeyboardInterrupt:
    print("interrupted", group.errors)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_while_the_block_waits_ends_the_work_first() -> None:
    source = str(Path(tether.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "ended by KeyboardInterrupt()",
        "interrupted []",
    ]
    assert done.stderr == ""


AT_EXIT = """
from tether import WaitGroup, background
def work(ctx):
    ctx.sleep(0.2)
    print("done", flush=True)
WaitGroup(background()).go_with(background(), work)
"""


def test_the_program_ends_after_its_work() -> None:
    source = str(Path(tether.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_wait_for_the_parents_work() -> None:
    go_on = threading.Event()

    def wait(ctx: Context) -> None:
        go_on.wait(LONG)

    group = Group()
    group.go(wait)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for use in (group.wait, lambda: group.go(wait)):
                try:
                    use()
                except RuntimeError as exc:
                    assert "before the fork" in str(exc)
            with Group() as fresh:
                handle = fresh.go(give, 1)
            code = 0 if handle.result() == 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    go_on.set()
    group.wait()


# -- without a block, as in Go ---------------------------------------------------


def test_wait_raises_the_first_error_each_time_and_ends_the_context() -> None:
    boom = Boom()
    group = Group()
    group.go(fail, boom)
    for _ in range(3):
        with pytest.raises(Boom) as caught:
            group.wait()
        assert caught.value is boom
    trace, length = boom.__traceback__, 0
    while trace is not None:
        trace, length = trace.tb_next, length + 1
    assert length < 6  # does not grow with each time
    assert group.ctx.done()


def test_after_a_wait_it_goes_on_under_a_context_that_is_over() -> None:
    group = Group()
    group.go(give, 1)
    group.wait()
    assert group.ctx.done()
    assert group.error is None
    late = group.go(lambda ctx: ctx.done())
    group.wait()
    assert late.result() is True
    group.go(blocked)
    with pytest.raises(Canceled):
        group.wait()


def test_wait_async_inside_the_block_raises_the_error_there(run: Run) -> None:
    boom = Boom()

    async def late_fail(ctx: Context) -> None:
        await asyncio.sleep(0.001)
        raise boom

    async def sleep(ctx: Context) -> None:
        await asyncio.sleep(LONG)

    async def main() -> str:
        async with Group() as group:
            group.go(sleep)
            group.go(late_fail)
            with pytest.raises(Boom):
                await group.wait_async()
            await asyncio.sleep(0)  # the block goes on
            raise LookupError("reached")

    with pytest.raises(Boom):
        run(main)


def test_wait_async_inside_the_block_and_then_more(run: Run) -> None:
    async def task(ctx: Context) -> bool:
        return ctx.done()

    async def main() -> None:
        async with Group() as group:
            first = group.go(task)
            await group.wait_async()
            assert first.result() is False
            assert group.ctx.done()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second = group.go(task)
        assert second.result() is True

    run(main)


def test_a_group_that_is_dropped_says_nothing() -> None:
    Group()
    group = Group()
    group.go(give, 1)
    gc.collect()


def test_a_thread_waits_for_tasks_and_a_task_for_threads(run: Run) -> None:
    async def later(ctx: Context) -> str:
        await asyncio.sleep(0.001)
        return "task"

    async def main() -> None:
        group = Group()
        handle = group.go(later)
        await asyncio.to_thread(group.wait)
        assert handle.result() == "task"
        other = Group()
        thread = other.go(give, "thread")
        await other.wait_async()
        assert thread.result() == "thread"

    run(main)


def test_a_cancel_of_who_waits_outside_a_block_leaves_the_work_alone(run: Run) -> None:
    async def later(ctx: Context) -> str:
        await asyncio.sleep(0.01)
        return "done"

    async def main() -> None:
        group = Group()
        handle = group.go(later)
        waiting = asyncio.ensure_future(group.wait_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not handle.done()
        await group.wait_async()
        assert handle.result() == "done"

    run(main)
