"""after_func: exactly once or never, elsewhere, under no lock, behind nobody's back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from tests.core.support import LONG, Own, start
from tests.loops import Run
from tether import Context, Key, Scope, _clock, background, current
from tether.testing import VirtualClock


class Count:
    """A function that counts its calls, and can be waited for."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = threading.Event()
        self.thread = 0

    def __call__(self) -> None:
        self.calls += 1
        self.thread = threading.get_ident()
        self.called.set()


def flush() -> None:
    """Return when the pool has begun everything that was given to it before."""
    last = threading.Event()
    ended = background().with_timeout(0.0)
    ended.after_func(last.set)
    assert last.wait(LONG)


# -- once, and where -----------------------------------------------------------


def test_it_runs_once_after_a_cancel_in_a_thread_of_its_own() -> None:
    scope = background().with_cancel()
    fn = Count()
    stop = scope.after_func(fn)
    flush()
    assert fn.calls == 0
    scope.cancel()
    assert fn.called.wait(LONG)
    scope.cancel()
    assert not stop()
    flush()
    assert fn.calls == 1
    assert fn.thread != threading.get_ident()


@pytest.mark.parametrize("how", ["deadline", "parent", "block", "value"])
def test_it_runs_whatever_ends_the_context(how: str) -> None:
    with VirtualClock() as clock:
        parent = background().with_timeout(9.0)
        scope = parent.with_timeout(5.0)
        fn = Count()
        ctx: Context = scope
        if how == "value":
            ctx = scope.with_value(Key("k"), 1)
        if how == "block":
            with scope:
                ctx.after_func(fn)
        else:
            ctx.after_func(fn)
        if how == "parent":
            parent.cancel()
        else:
            clock.advance(5.0)
        clock.settle()
        assert fn.calls == 1
        clock.advance(10.0)
        assert fn.calls == 1


def test_on_a_done_context_it_runs_at_once_but_not_in_the_callers_stack() -> None:
    scope = background().with_cancel()
    scope.cancel()
    lock = threading.Lock()
    done = threading.Event()

    def fn() -> None:
        with lock:  # held by the caller
            done.set()

    with lock:
        stop = scope.after_func(fn)
        assert not stop()
        assert not done.is_set()
    assert done.wait(LONG)


def test_it_never_runs_on_the_thread_of_the_loop(run: Run) -> None:
    async def main() -> None:
        for end in ("cancel", "deadline", "done"):
            scope = background().with_timeout(0.001 if end == "deadline" else 60.0)
            if end == "done":
                scope.cancel()
            fn = Count()
            scope.after_func(fn)
            if end == "cancel":
                scope.cancel()
            while not fn.called.is_set():
                await asyncio.sleep(0)
            assert fn.calls == 1
            assert fn.thread != threading.get_ident()

    run(main)


def test_the_same_function_may_be_given_many_times() -> None:
    scope = background().with_cancel()
    calls: list[None] = []
    both = threading.Barrier(3)

    def fn() -> None:
        calls.append(None)
        both.wait(LONG)

    stops = [scope.after_func(fn) for _ in range(3)]
    assert stops[0]()
    scope.cancel()
    both.wait(LONG)
    assert len(calls) == 2


def test_canceling_does_not_wait_for_it() -> None:
    scope = background().with_cancel()
    canceled = threading.Event()
    done = threading.Event()

    def fn() -> None:
        assert canceled.wait(LONG)
        done.set()

    scope.after_func(fn)
    scope.cancel()
    canceled.set()
    assert done.wait(LONG)


def test_it_may_use_the_tree_as_it_likes() -> None:
    root = background().with_cancel()
    scope = root.with_cancel()
    done = threading.Event()

    def fn() -> None:
        scope.cancel(KeyError())
        assert scope.done()
        with root.with_timeout(60.0) as inner:
            assert inner.after_func(print)()
            assert inner.wait(0.0) is False
        root.cancel()  # its own parent's siblings, and this thread's caller
        assert start(background().with_cancel().cancel).result(LONG) is None
        done.set()

    scope.after_func(fn)
    scope.cancel()
    assert done.wait(LONG)
    assert root.done()


def test_a_hundred_that_all_wait_for_the_last_one() -> None:
    together = threading.Barrier(101)
    scope = background().with_cancel()
    for _ in range(100):
        scope.after_func(lambda: together.wait(LONG))
    scope.cancel()
    together.wait(LONG)


def test_functions_that_block_do_not_hold_up_another_context() -> None:
    release = threading.Event()
    blocked = background().with_cancel()
    for _ in range(20):
        blocked.after_func(lambda: release.wait(LONG))
    blocked.cancel()
    try:
        flush()
    finally:
        release.set()


def test_many_short_ones_take_few_threads() -> None:
    threads: set[int] = set()
    remaining = [None] * 3000
    done = threading.Event()
    never = threading.Event()

    def fn() -> None:
        threads.add(threading.get_ident())
        never.wait(0.0005)  # a short call of the system
        remaining.pop()
        if not remaining:
            done.set()

    scope = background().with_cancel()
    for _ in range(len(remaining)):
        scope.after_func(fn)
    scope.cancel()
    assert done.wait(LONG)
    assert len(threads) < 200


def test_an_error_in_it_goes_to_the_threads_hook_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[threading.ExceptHookArgs] = []
    both = threading.Semaphore(0)

    def hook(args: threading.ExceptHookArgs) -> None:
        heard.append(args)
        both.release()

    monkeypatch.setattr(threading, "excepthook", hook)
    scope = background().with_cancel()
    error = ZeroDivisionError("mine")

    def fail() -> None:
        raise error

    fn = Count()
    scope.after_func(fail)
    scope.after_func(fn)
    scope.after_func(sys.exit)
    scope.cancel()
    assert fn.called.wait(LONG)
    for _ in range(2):
        assert both.acquire(timeout=LONG)
    assert {args.exc_type for args in heard} == {ZeroDivisionError, SystemExit}
    assert error in [args.exc_value for args in heard]
    flush()


def test_a_hook_that_raises_itself_costs_no_thread_of_the_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hook(_: object) -> None:
        raise KeyError

    monkeypatch.setattr(threading, "excepthook", hook)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    scope = background().with_cancel()
    for _ in range(100):
        scope.after_func(lambda: 1 // 0)
    scope.cancel()
    flush()


def test_a_function_sees_no_variables_of_the_one_before() -> None:
    variable: ContextVar[int] = ContextVar("variable", default=0)
    seen: list[tuple[int, Context]] = []

    def fn() -> None:
        seen.append((variable.get(), current()))
        variable.set(1)
        left_open.append(background().with_cancel())
        left_open[-1].__enter__()

    left_open: list[Scope] = []
    for _ in range(30):
        scope = background().with_cancel()
        scope.after_func(fn)
        scope.cancel()
        flush()
    for scope in left_open:
        scope.cancel()
    assert seen == [(0, background())] * 30


# -- stop ----------------------------------------------------------------------


def test_after_stop_said_true_it_never_runs() -> None:
    scope = background().with_cancel()
    fn = Count()
    stop = scope.after_func(fn)
    assert stop() is True
    assert stop() is False
    scope.cancel()
    assert stop() is False
    flush()
    assert fn.calls == 0


def test_stop_on_a_context_that_never_ends() -> None:
    for ctx in (background(), background().with_value(Key("k"), 1), Own()):
        stop = ctx.after_func(print)
        assert (stop(), stop()) == (True, False)


def test_stop_from_inside_the_function_is_false() -> None:
    scope = background().with_cancel()
    said: list[bool] = []
    done = threading.Event()

    def fn() -> None:
        said.append(stop())
        done.set()

    stop = scope.after_func(fn)
    scope.cancel()
    assert done.wait(LONG)
    assert said == [False]


@pytest.mark.parametrize("ender", ["cancel", "parent", "deadline", "leave", "own"])
def test_it_runs_or_stop_said_true_and_never_both(ender: str, switching: None) -> None:
    for _ in range(300):
        own = Own()
        parent = (own if ender == "own" else background()).with_cancel()
        seconds = 0.0003 if ender == "deadline" else 60.0
        scope = parent.with_timeout(seconds)
        fn = Count()
        if ender == "leave":
            scope.__enter__()
        stop = scope.after_func(fn)
        ends: dict[str, Callable[[], object]] = {
            "cancel": scope.cancel,
            "parent": parent.cancel,
            "deadline": lambda scope=scope: scope.wait(LONG),
            "leave": lambda scope=scope: scope.__exit__(None, None, None),
            "own": lambda own=own: own.end(KeyError()),
        }
        go = threading.Barrier(3)

        def stopping(stop: Callable[[], bool] = stop, go: object = go) -> bool:
            go.wait(LONG)  # type: ignore[attr-defined]
            return stop()

        stoppers = [start(stopping), start(stopping)]
        go.wait(LONG)
        ends[ender]()
        said = [stopper.result(LONG) for stopper in stoppers]
        parent.cancel()
        if True in said:
            flush()
            assert (fn.calls, sum(said)) == (0, 1)
        else:
            assert fn.called.wait(LONG)
            assert fn.calls == 1
        assert not stop()


@pytest.mark.parametrize("ender", ["cancel", "parent", "leave", "parent left"])
def test_an_end_between_the_look_and_the_hooking_is_told(
    ender: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = background().with_timeout(60.0)
    scope = parent.with_timeout(30.0)
    if ender in {"leave", "parent left"}:
        (scope if ender == "leave" else parent).__enter__()
    ends: dict[str, Callable[[], object]] = {
        "cancel": scope.cancel,
        "parent": parent.cancel,
        "leave": lambda: scope.__exit__(None, None, None),
        "parent left": lambda: parent.__exit__(None, None, None),
    }
    looked: list[None] = []
    real = _clock.now

    def now() -> float:
        time = real()
        if not looked:
            looked.append(None)
            ends[ender]()
        return time

    fn = Count()
    monkeypatch.setattr(_clock, "now", now)
    scope.after_func(fn)
    monkeypatch.undo()
    assert fn.called.wait(LONG)
    flush()
    assert fn.calls == 1
    parent.cancel()


# -- at the end of the process -------------------------------------------------


@pytest.mark.parametrize("after", ["", "sys.exit(0)"])
def test_a_function_that_blocks_does_not_hold_up_the_end_of_the_process(
    after: str,
) -> None:
    code = f"""
import sys, threading
from tether import background
scope = background().with_cancel()
running = threading.Event()
scope.after_func(lambda: (running.set(), threading.Event().wait()))
background().with_timeout(3600.0).after_func(print)
scope.cancel()
running.wait()
print("done")
{after}
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
