"""What is left behind is told, of each kind, and what is not left behind is not."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.testing.leaking import CLEAN, LEAKS, fails, keep, sweep_up, waits
from tether import Context, Group, WaitGroup, background, to_thread
from tether.testing import LeakError, Watch, verify_none
from tether.testing.leaks._descriptors import GRPC

pytestmark = [
    pytest.mark.tether_leaks(off=True),  # they leak
    # Told by the watch, and then said by whom they are always said.
    pytest.mark.filterwarnings("default::ResourceWarning"),
    pytest.mark.filterwarnings("default:coroutine:RuntimeWarning"),
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
]

Runner = Callable[[Coroutine[Any, Any, object]], object]


def uvloop_run(main: Coroutine[Any, Any, object]) -> object:
    uvloop = pytest.importorskip("uvloop")
    return uvloop.run(main)


RUNNERS: dict[str, Runner] = {"asyncio": asyncio.run, "uvloop": uvloop_run}

# What is in C there.
HIDDEN = {"call_later in an hour", "asynchronous generator half used"}
KINDS = {
    "task kept, waits for ever": "task",
    "task dropped, then collected": "task destroyed",
    "task that swallows cancel": "task that swallows cancel",
    "task failed, its result never read": "exception never retrieved",
    "coroutine never awaited": "coroutine never awaited",
    "call_later in an hour": "timer",
    "asynchronous generator half used": "asynchronous generator",
    "thread, blocked": "thread",
    "daemon thread, blocked": "daemon thread",
    "to_thread timed out, still blocked": "executor",
    "executor not shut down": "executor",
    "threading.Timer": "timer thread",
    "socket, still referenced": "socket",
    "socket, dropped": "dropped without being closed",
    "transport not closed": "socket",
    "child process not waited for": "process",
    "temporary file open": "file",
    "signal handler left behind": "signal handler",
}


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    yield
    sweep_up()


@pytest.mark.parametrize("name", LEAKS)
def test_each_kind_is_told(name: str) -> None:
    with pytest.raises(LeakError) as caught, Watch(patience=0.2):
        asyncio.run(LEAKS[name]())  # type: ignore[arg-type]
    kinds = [leak.kind for leak in caught.value.leaks]
    assert KINDS[name] in kinds
    assert all(leak.what for leak in caught.value.leaks)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in LEAKS
        if name not in HIDDEN | {"to_thread timed out, still blocked"}
    ],
)
def test_and_on_uvloop(name: str) -> None:
    with pytest.raises(LeakError), Watch(patience=0.2):
        uvloop_run(LEAKS[name]())  # type: ignore[arg-type]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("name", CLEAN)
def test_what_is_put_in_order_is_no_leak(name: str, runner: str) -> None:
    with Watch():
        RUNNERS[runner](CLEAN[name]())  # type: ignore[arg-type]


def test_the_nineteen_kinds_but_the_fixture_are_here() -> None:
    assert LEAKS.keys() == KINDS.keys()
    assert CLEAN.keys() > LEAKS.keys()
    assert len(LEAKS) == 18


# -- what a report says ----------------------------------------------------------


def leaks_of(main: Callable[[], Coroutine[Any, Any, object]]) -> LeakError:
    with pytest.raises(LeakError) as caught, Watch(patience=0.05):
        asyncio.run(main())
    return caught.value


def test_a_task_is_told_with_its_whole_chain_and_where_it_was_made() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    async def main() -> None:
        keep(asyncio.create_task(outer(), name="worker"), gc.collect)
        await asyncio.sleep(0)

    (leak,) = leaks_of(main).leaks
    said = str(leak)
    assert "worker" in said
    chain = [line for line in leak.details if line.startswith("at ")]
    assert [line.rpartition(".")[2] for line in chain] == ["wait", "inner", "outer"]
    assert "made at testing/test_leaks.py" in said
    assert "waits for: Future" in said
    assert "-> await it" in said


def test_a_task_that_has_failed_is_told_while_somebody_still_holds_it() -> None:
    async def main() -> None:
        keep(asyncio.create_task(fails()), gc.collect)
        await asyncio.sleep(0.01)

    (leak,) = leaks_of(main).leaks
    assert leak.kind == "exception never retrieved"
    assert leak.what == "ValueError: nobody asks"


def test_a_task_is_told_with_the_context_whose_block_it_is_in() -> None:
    async def work() -> None:
        with background().with_timeout(3600.0, label="GET /orders"):
            await waits()

    async def main() -> None:
        keep(asyncio.create_task(work()), gc.collect)
        await asyncio.sleep(0)

    said = str(leaks_of(main))
    assert "in the block of the context made at testing/test_leaks.py" in said
    assert "for GET /orders" in said
    assert "s left" in said


def test_a_scope_that_is_never_left_and_one_never_canceled() -> None:
    with pytest.raises(LeakError) as caught, Watch(patience=0.01):
        opened = background().with_timeout(3600.0, label="POST /pay")
        opened.__enter__()
        other = background().with_cancel()
    opened.__exit__(None, None, None)
    other.cancel()
    kinds = {leak.kind: leak for leak in caught.value.leaks}
    assert kinds.keys() == {"context never left", "context never canceled"}
    assert "POST /pay" in kinds["context never left"].what


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_scope_that_is_over_and_still_open_is_told_as_that() -> None:
    with pytest.raises(LeakError) as caught, Watch(patience=0.01):
        scope = background().with_timeout(3600.0)
        scope.__enter__()
        scope.cancel()
    scope.__exit__(None, None, None)
    (leak,) = caught.value.leaks
    assert leak.kind == "expired but still running"
    assert "was canceled" in leak.what


def test_a_group_with_work_is_told_with_its_work() -> None:
    over = threading.Event()

    def blocks(ctx: Context) -> None:
        over.wait()

    with pytest.raises(LeakError) as caught, Watch(patience=0.01):
        group = WaitGroup(background())
        group.go(blocks)
    over.set()
    group.wait()
    group.ctx.cancel()  # type: ignore[attr-defined]
    told = {leak.kind: leak for leak in caught.value.leaks}
    assert "1 in the WaitGroup" in told["group with work"].what
    assert any("blocks" in line for line in told["group with work"].details)


def test_a_thread_that_to_thread_has_left_behind() -> None:
    over = threading.Event()
    keep(over, over.set)

    async def main() -> None:
        ctx = background().with_cancel()
        call = to_thread(ctx, lambda ctx: over.wait(), abandon=True)
        task = asyncio.create_task(call)
        await asyncio.sleep(0.01)
        ctx.cancel()
        await asyncio.wait({task})
        task.exception()

    kinds = [leak.kind for leak in leaks_of(main).leaks]
    assert "abandoned thread" in kinds


def test_a_watch_in_a_task_counts_what_the_task_has_made() -> None:
    async def main() -> None:
        with pytest.raises(LeakError) as caught:
            async with Watch(patience=0.01):
                task = asyncio.create_task(waits())
                await asyncio.sleep(0)
        task.cancel()
        assert [leak.kind for leak in caught.value.leaks] == ["task"]
        async with Watch(), Group(background()) as group:
            group.go(asyncio_sleep)

    asyncio.run(main())


async def asyncio_sleep(ctx: Context) -> None:
    await ctx.sleep_async(0.001)


def test_two_watches_in_one_loop_tell_whose_it_is() -> None:
    async def leaky() -> list[str]:
        try:
            async with Watch(patience=0.05):
                keep(asyncio.create_task(waits()), gc.collect)
                await asyncio.sleep(0.01)
        except LeakError as exc:
            return [leak.kind for leak in exc.leaks]
        return []

    async def tidy() -> list[str]:
        async with Watch(patience=0.05):
            await asyncio.gather(*(asyncio.sleep(0.005) for _ in range(3)))
        return []

    async def main() -> None:
        assert await asyncio.gather(leaky(), tidy(), tidy()) == [["task"], [], []]

    asyncio.run(main())


# -- a watch ---------------------------------------------------------------------


def test_the_error_of_the_block_goes_before_what_it_has_left() -> None:
    with pytest.raises(KeyError), Watch():
        file = Path(__file__).open()  # noqa: SIM115
        raise KeyError
    file.close()


def test_what_was_there_before_does_not_count() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    with Watch():
        pass
    over.set()
    thread.join()


def test_what_is_ignored_may_stay() -> None:
    over = threading.Event()

    def poll_for_news() -> None:
        over.wait()

    for pattern in ("*poll_for_news", "thread", "thread: news*"):
        with Watch(patience=0.01, ignore=[pattern]):
            thread = threading.Thread(target=poll_for_news, name="news")
            thread.start()
        over.set()
        thread.join()
        over.clear()


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no descriptors of events here")
@pytest.mark.parametrize("used", [False, True], ids=["without gRPC", "with gRPC"])
def test_what_grpc_makes_anew_at_a_fork_is_no_leak(
    used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, GRPC, raising=False)
    if used:
        monkeypatch.setitem(sys.modules, GRPC, ModuleType(GRPC))
    watch = Watch(patience=0.01)
    watch.begin()
    made = os.eventfd(0)
    told = any(f"(descriptor {made})" in leak.what for leak in watch.left())
    os.close(made)
    watch.end()
    assert told is not used


def test_a_task_that_goes_later_is_not_this_watch_s() -> None:
    async def main() -> list[asyncio.Task[None]]:
        task = asyncio.create_task(fails())
        await asyncio.wait({task})
        return [task]

    tasks = asyncio.run(main())
    with Watch():
        tasks.clear()  # now it says that nobody has asked for its error
        gc.collect()


def test_a_watch_is_used_once_and_ended_once() -> None:
    watch = Watch()
    with pytest.raises(RuntimeError, match="not open"):
        watch.end()
    with watch:
        with pytest.raises(RuntimeError, match="used once"):
            watch.begin()
    with pytest.raises(RuntimeError, match="used once"), watch:
        pass
    with Watch():  # and nothing of the wrong calls is left open
        pass
    from tether.testing.leaks import _watch

    assert _watch._open == []


@pytest.mark.parametrize("bad", [float("nan"), "1", None])
def test_a_patience_that_is_no_time_is_refused(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="patience"):
        Watch(patience=bad)
    with pytest.raises((TypeError, ValueError), match="patience"):
        verify_none(patience=bad)


def test_bad_patterns_are_refused() -> None:
    with pytest.raises(TypeError, match="as text"):
        Watch(ignore=[print])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="as text"):
        Watch(ignore=5)  # type: ignore[arg-type]


def test_what_would_hold_up_the_loop_is_refused_with_the_cure() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="use async with"), Watch():
            pass
        watch = Watch()
        watch.begin()
        with pytest.raises(RuntimeError, match=r"await left_async\(\)"):
            watch.left()
        watch.end()

    asyncio.run(main())


def test_what_need_not_be_ignored_is_warned_of() -> None:
    told = r"ignore=\['poll_\*'\] fits nothing: take it out"
    with pytest.warns(UserWarning, match=told) as caught, Watch(ignore=["poll_*"]):
        pass
    assert caught[0].filename == __file__

    async def main() -> None:
        async with Watch(ignore=["poll_*"]):
            pass

    with pytest.warns(UserWarning, match=told):
        asyncio.run(main())
    with pytest.raises(ZeroDivisionError), Watch(ignore=["poll_*"]):
        raise ZeroDivisionError  # and nothing besides


AT_EXIT = """
from tether.testing import Watch
from tether.testing.leaks import _sites

class Late:
    def __del__(self, open=open):
        open("/dev/null").close()

Watch().begin()  # and never ended
_sites.late = Late()
"""


def test_it_says_nothing_when_the_interpreter_goes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_verify_none_is_for_the_end_of_a_program() -> None:
    verify_none(ignore=["daemon thread", "process"])
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="left over")
    thread.start()
    with pytest.raises(LeakError, match="left over"):
        verify_none(patience=0.01, ignore=["daemon thread", "process"])
    over.set()
    thread.join()


def test_nothing_of_it_stays_when_nobody_watches() -> None:
    before = (
        asyncio.BaseEventLoop.create_task,
        asyncio.BaseEventLoop.call_exception_handler,
        threading.Thread.start,
        asyncio.runners._cancel_all_tasks,  # type: ignore[attr-defined]
    )
    with Watch():
        assert asyncio.BaseEventLoop.create_task is not before[0]
    assert before == (
        asyncio.BaseEventLoop.create_task,
        asyncio.BaseEventLoop.call_exception_handler,
        threading.Thread.start,
        asyncio.runners._cancel_all_tasks,  # type: ignore[attr-defined]
    )


def test_a_task_that_resists_does_not_hang_the_runner_and_failed_cleanups_are_heard() -> (
    None
):
    async def fails_late() -> None:
        try:
            await waits()
        finally:
            await fails()

    async def main() -> None:
        keep(asyncio.create_task(fails_late()), gc.collect)
        await asyncio.sleep(0)

    kinds = [leak.kind for leak in leaks_of(main).leaks]
    assert kinds == ["task"]
