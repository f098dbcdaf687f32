"""Threads: every wait of ours notices at once, and leaves nothing behind."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Key,
    _clock,
    _timers,
    background,
)
from tether.testing import VirtualClock

MAKE: dict[str, Callable[[Context], Context]] = {
    "scope": lambda ctx: ctx,
    "value": lambda ctx: ctx.with_value(Key("k"), 1),
    "child": lambda ctx: ctx.with_timeout(3600.0),
    "wrapper": Wrapper,
    "below a wrapper": lambda ctx: Wrapper(ctx).with_cancel(),
}


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


# -- wait ----------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_wait_returns_at_once_when_it_is_canceled_elsewhere(
    clock: VirtualClock, make: Callable[[Context], Context]
) -> None:
    scope = background().with_cancel()
    waiting = [start(make(scope).wait) for _ in range(3)]
    clock.settle()
    assert not any(one.done() for one in waiting)
    scope.cancel()
    assert [one.result(LONG) for one in waiting] == [True] * 3
    assert clock.now() == 0.0


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_wait_returns_at_the_deadline(
    clock: VirtualClock, make: Callable[[Context], Context]
) -> None:
    scope = background().with_timeout(5.0)
    waiting = start(make(scope).wait, 60.0)
    clock.advance(4.999)
    assert not waiting.done()
    clock.advance(0.001)
    assert waiting.result(LONG) is True


def test_wait_for_at_most_so_long(clock: VirtualClock) -> None:
    with background().with_timeout(60.0) as scope:
        for ctx in (scope, background(), scope.without_cancel(), Own()):
            before = clock.now()
            waiting = start(ctx.wait, 2.0)
            clock.advance(1.5)
            assert not waiting.done()
            clock.advance(0.5)
            assert waiting.result(LONG) is False
            assert clock.now() == before + 2.0


def test_wait_that_need_not_wait(clock: VirtualClock) -> None:
    with background().with_timeout(60.0) as live:
        assert live.wait(0.0) is False
        assert live.wait(-5.0) is False
        scope = live.with_cancel()
        scope.cancel()
        for timeout in (None, 0.0, -5.0, 60.0):
            assert scope.wait(timeout) is True


def test_wait_of_a_user_made_context(clock: VirtualClock) -> None:
    own = Own()
    waiting = [start(own.wait), start(own.with_value(Key("k"), 1).wait)]
    clock.settle()
    own.end(KeyError())
    assert [one.result(LONG) for one in waiting] == [True, True]


def test_threads_that_wait_on_many_levels_wake_together(clock: VirtualClock) -> None:
    root = background().with_timeout(5.0)
    contexts = [root.with_cancel() for _ in range(10)]
    contexts += [ctx.with_timeout(3.0 + n) for n, ctx in enumerate(contexts)]
    waiting = [start(ctx.wait) for ctx in contexts]
    clock.advance(3.0)
    assert waiting[10].result(LONG) is True
    assert [one.done() for one in waiting] == [False] * 10 + [True] + [False] * 9
    clock.advance(2.0)
    assert [one.result(LONG) for one in waiting] == [True] * 20


# -- sleep, check --------------------------------------------------------------


def test_sleep_takes_its_time(clock: VirtualClock) -> None:
    with background().with_timeout(60.0) as ctx:
        sleeping = start(ctx.sleep, 5.0)
        clock.advance(4.0)
        assert not sleeping.done()
        clock.advance(1.0)
        assert sleeping.result(LONG) is None
        assert not ctx.done()


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_sleep_raises_when_the_context_ends_first(
    clock: VirtualClock, make: Callable[[Context], Context]
) -> None:
    scope = background().with_timeout(5.0)
    canceled = background().with_cancel()
    late = start(make(scope).sleep, 10.0)
    stopped = start(make(canceled).sleep, 10.0)
    clock.advance(1.0)
    canceled.cancel(KeyError("gone"))
    error = stopped.exception(LONG)
    assert isinstance(error, Canceled)
    assert isinstance(error.__cause__, KeyError)
    clock.advance(4.0)
    error = late.exception(LONG)
    assert isinstance(error, DeadlineExceeded)
    assert error.ctx is scope


def test_sleep_until_the_very_deadline_raises(clock: VirtualClock) -> None:
    scope = background().with_timeout(5.0)
    sleeping = start(scope.sleep, 5.0)
    clock.advance(5.0)
    assert isinstance(sleeping.exception(LONG), DeadlineExceeded)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 5.0])
def test_sleep_on_a_done_context_raises_at_once(seconds: float) -> None:
    scope = background().with_cancel()
    scope.cancel()
    with pytest.raises(Canceled):
        scope.sleep(seconds)


def test_sleep_of_nothing_returns(clock: VirtualClock) -> None:
    background().sleep(0.0)
    background().sleep(-1.0)
    with background().with_timeout(1.0) as ctx:
        ctx.sleep(0.0)


def test_in_a_thread_the_error_is_raised_where_it_is_noticed() -> None:
    with background().with_cancel() as outer:
        with outer.with_cancel() as inner:
            outer.cancel()
            with pytest.raises(Canceled) as caught:
                inner.check()
            assert caught.value.ctx is outer


def test_a_block_in_a_thread_raises_nothing_of_its_own(clock: VirtualClock) -> None:
    with background().with_timeout(1.0) as ctx:
        clock.advance(5.0)
        assert ctx.done()


# -- poll ----------------------------------------------------------------------


def test_poll_notices_and_names_the_item() -> None:
    scope = background().with_cancel()
    seen = []
    with pytest.raises(Canceled) as caught:
        for item in scope.poll(range(1000), every=100):
            seen.append(item)
            if item == 650:
                scope.cancel()
    assert seen == list(range(700))
    assert caught.value.detail.endswith("; canceled at item 700")


def test_poll_gives_every_item_of_a_live_context() -> None:
    with background().with_cancel() as ctx:
        assert list(ctx.poll("abc", every=1)) == ["a", "b", "c"]
        assert list(ctx.poll([])) == []
        assert list(ctx.poll(iter(range(250)))) == list(range(250))


def test_poll_on_a_done_context_begins_nothing() -> None:
    scope = background().with_cancel()
    scope.cancel()
    taken: list[None] = []

    def items() -> Iterator[int]:
        taken.append(None)
        yield 1

    with pytest.raises(Canceled) as caught:
        next(scope.poll(items()))
    assert "item 0" in caught.value.detail


# -- what is left behind -------------------------------------------------------


@contextmanager
def interrupted_here(exc: type[BaseException]) -> Iterator[None]:
    """A signal raises `exc` in this thread once it blocks."""
    main = threading.get_ident()
    over = threading.Event()
    raised: list[None] = []

    def handler(*_: object) -> None:
        if not raised:
            raised.append(None)
            raise exc

    def shoot() -> None:
        while not over.is_set():
            frame = sys._current_frames().get(main)
            if frame is not None and frame.f_code.co_name == "block":
                signal.pthread_kill(main, signal.SIGINT)
            over.wait(0.001)

    before = signal.signal(signal.SIGINT, handler)
    shooter = threading.Thread(target=shoot)
    shooter.start()
    try:
        yield
    finally:
        over.set()
        shooter.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to a thread")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("how", ["wait", "wait so long", "sleep", "interrupting"])
def test_ctrl_c_in_a_wait_leaves_nothing_hooked(how: str) -> None:
    with background().with_cancel() as parent:
        child = parent.with_timeout(60.0)
        calls: dict[str, Callable[[], object]] = {
            "wait": child.wait,
            "wait so long": lambda: child.wait(LONG),
            "sleep": lambda: child.sleep(LONG),
            "interrupting": lambda: block_in_interrupting(child),
        }
        with interrupted_here(KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                calls[how]()
        assert not child.done()
        gone = weakref.ref(child)
        del child, calls
        gc.collect()
        assert gone() is None


def block_in_interrupting(ctx: Context) -> None:
    with ctx.interrupting(print):
        background().wait(LONG)


# -- the threads' own timer ----------------------------------------------------


def test_a_clock_that_jumps_between_two_looks_stops_no_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(10**9))
    monkeypatch.setattr(_timers, "threads", _timers.ThreadTimers())
    monkeypatch.setattr(_clock, "now", lambda: next(ticks) / 1000.0)
    for turn in range(60):
        told = threading.Event()
        scope = background().with_timeout(turn % 20 / 1000.0)
        scope.after_func(told.set)
        assert told.wait(LONG)


@pytest.mark.stress
def test_deadlines_come_true_however_many_threads_compete(switching: None) -> None:
    def work(number: int) -> int:
        expired = 0
        for turn in range(100):
            scope = background().with_timeout((number + turn) % 5 * 0.0002)
            told = threading.Event()
            scope.after_func(told.set)
            try:
                scope.sleep(LONG)
            except ContextError:
                expired += told.wait(LONG)
        return expired

    working = [start(work, number) for number in range(8)]
    assert [one.result(LONG) for one in working] == [100] * 8


@pytest.mark.stress
def test_a_cancel_is_never_missed_by_a_wait_that_just_begins(switching: None) -> None:
    for _ in range(1000):
        root = background().with_cancel()
        scope = root.with_timeout(60.0).with_value(Key("k"), 1).with_cancel()
        waiting = start(scope.wait)
        root.cancel()
        assert waiting.result(LONG) is True
