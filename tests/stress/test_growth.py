"""Nothing grows, however many rounds of whatever kind; and what is over is freed."""

from __future__ import annotations

import asyncio
import gc
import select
import sys
import time
import tracemalloc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.loops import Run
from tests.stress.rounds import KEY, LONG, settle
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Key,
    Scope,
    Signal,
    _loops,
    _pool,
    _timers,
    background,
)
from tether.testing import VirtualClock

pytestmark = pytest.mark.stress

BYTES = 24_000  # what may be left: caches, a queue that was longer for a moment
PEAK = 1_500_000  # and while it runs: garbage that waits for the collector
THREADS = 24  # which the pool may start when it is slow, and which leave again
BYTES_PER_THREAD = 600  # what one of the pool has in hand while it waits for work
FAR = 3600.0


def fds() -> int:
    for folder in (Path("/proc/self/fd"), Path("/dev/fd")):
        if folder.is_dir():
            return len(list(folder.iterdir()))
    return 0


def threads() -> int:
    """All of them, also those that `threading` does not know."""
    return len(sys._current_frames())


def flat(many: Callable[[int], object], count: int) -> None:
    """Running it for so many rounds leaves the process as it was."""
    many(max(100, count // 20))  # warm up
    settle()
    gc.collect()
    files, running = fds(), threads()
    tracemalloc.start()
    try:
        many(count)
        settle()
        gc.collect()
        grown, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < BYTES + BYTES_PER_THREAD * len(_pool.idle())
    assert peak < PEAK
    assert fds() <= files
    assert threads() <= running + THREADS


class Own(Context):
    """A context made by a user."""

    def __init__(self, parent: Context) -> None:
        self.parent = parent
        self.signal = Signal()

    @property
    def deadline(self) -> float | None:
        return self.parent.deadline

    def err(self) -> BaseException | None:
        return Canceled() if self.signal.is_set() else None

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return self.parent.value(key, default)

    def done_signal(self) -> Signal:
        return self.signal


# -- rounds -------------------------------------------------------------------------


def derive_and_cancel(parent: Context) -> None:
    scope = parent.with_timeout(1.0)
    scope.with_value(KEY, 1).with_cancel().cancel()
    scope.cancel()


def enter_and_leave(parent: Context) -> None:
    with parent.with_timeout(1.0) as outer, outer.with_cancel():
        pass


def hook_and_stop(parent: Context) -> None:
    with parent.with_timeout(1.0) as scope:
        stop = scope.after_func(dict)
        assert stop()


def hook_and_tell(parent: Context) -> None:
    scope = parent.with_timeout(1.0)
    child = scope.with_cancel()
    stop = child.after_func(dict)
    scope.cancel()
    assert not stop()


def listen(parent: Context) -> None:
    scope = parent.with_timeout(1.0)
    signal = scope.done_signal()
    remove = signal.add_callback(dict)
    signal.add_callback(dict)
    remove()
    scope.cancel()


def wait(parent: Context) -> None:
    scope = parent.with_timeout(1.0)
    scope.wait(1e-6)
    parent.wait(1e-6)
    scope.cancel()


def expire(parent: Context) -> None:
    scope = parent.with_timeout(1e-7)
    assert scope.done()
    assert isinstance(scope.err(), DeadlineExceeded)


def drop(parent: Context) -> None:
    parent.with_timeout(1.0).with_cancel().with_value(KEY, 1)


def interrupt(parent: Context) -> None:
    with parent.with_timeout(1.0) as scope, scope.interrupting(dict):
        pass


def describe(parent: Context) -> None:
    with parent.with_timeout(1.0, label="GET /") as scope:
        pass
    error = scope.err()
    assert isinstance(error, ContextError)
    assert error.detail


def open_descriptor(parent: Context) -> None:
    with parent.with_timeout(1.0) as scope:
        scope.with_value(KEY, 1).fileno()
    assert select.select([scope], [], [], 0)[0]


def below_a_users(parent: Context) -> None:
    own = Own(parent)
    one, two = own.with_timeout(1.0), own.with_value(KEY, 2).with_cancel()
    one.cancel()
    two.with_cancel().cancel()
    own.signal.set()
    assert two.done()


ROUNDS: list[tuple[Callable[[Context], None], int]] = [
    (derive_and_cancel, 40_000),
    (enter_and_leave, 25_000),
    (hook_and_stop, 20_000),
    (hook_and_tell, 15_000),
    (listen, 20_000),
    (wait, 8_000),
    (expire, 25_000),
    (drop, 15_000),
    (interrupt, 8_000),
    (describe, 3_000),
    (open_descriptor, 5_000),
    (below_a_users, 4_000),
]


@pytest.fixture(params=["alone", "hooked", "own"])
def parent(request: pytest.FixtureRequest) -> Iterator[Context]:
    """One that lives as long as the program, in three kinds."""
    with background().with_timeout(FAR) as scope:
        if request.param == "own":
            yield Own(scope)
            return
        stop = scope.after_func(dict) if request.param == "hooked" else None
        yield scope
        assert scope._hooks is None or stop is not None
        if stop is not None:
            assert stop()
            assert scope._hooks is None
        assert len(_timers.threads) == 0


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("one_round", "count"), ROUNDS, ids=[one.__name__ for one, _ in ROUNDS]
)
def test_rounds_in_a_thread(
    parent: Context, one_round: Callable[[Context], None], count: int
) -> None:
    if isinstance(parent, Own):
        if one_round is drop:
            pytest.skip("a user-made context is told of each scope, and holds it")
        count //= 8
    elif parent._hooks is not None:  # type: ignore[attr-defined]
        count //= 4

    def many(count: int) -> None:
        for _ in range(count):
            one_round(parent)

    flat(many, count)
    if isinstance(parent, Own):
        assert not parent.signal._callbacks


async def block(scope: Scope) -> None:
    with scope:
        pass


async def two_blocks(scope: Scope) -> None:
    with scope, scope.with_timeout(1.0) as inner:
        inner.check()


async def block_with_a_wait(scope: Scope) -> None:
    with scope:
        await asyncio.sleep(0)
        await scope.wait_async(0.0)


async def interrupting_block(scope: Scope) -> None:
    async with scope.interrupting(dict):
        pass
    scope.cancel()


async def interrupted_block(scope: Scope) -> None:
    asyncio.get_running_loop().call_soon(scope.cancel)
    with pytest.raises(Canceled):
        with scope:
            await asyncio.get_running_loop().create_future()


async def expired_block(scope: Scope) -> None:
    with pytest.raises(DeadlineExceeded):
        with scope, scope.with_timeout(2e-5) as inner:
            await inner.sleep_async(LONG)


async def in_a_task_of_its_own(scope: Scope) -> None:
    await asyncio.gather(*(block(scope.with_cancel()) for _ in range(3)))
    scope.cancel()


TASK_ROUNDS: list[tuple[Callable[[Scope], Coroutine[Any, Any, None]], int]] = [
    (block, 25_000),
    (two_blocks, 10_000),
    (block_with_a_wait, 10_000),
    (interrupting_block, 6_000),
    (interrupted_block, 4_000),
    (expired_block, 1_500),
    (in_a_task_of_its_own, 3_000),
]


@pytest.mark.parametrize(
    ("one_round", "count"), TASK_ROUNDS, ids=[one.__name__ for one, _ in TASK_ROUNDS]
)
def test_rounds_in_a_task(
    run: Run, one_round: Callable[[Scope], Coroutine[Any, Any, None]], count: int
) -> None:
    async def main() -> None:
        async def many(parent: Scope, count: int) -> None:
            for _ in range(count):
                await one_round(parent.with_timeout(1.0))

        with background().with_timeout(FAR) as parent:
            await many(parent, count // 20 + 100)
            settle()
            gc.collect()
            files, running = fds(), threads()
            tracemalloc.start()
            try:
                await many(parent, count)
                settle()
                await asyncio.sleep(0)
                gc.collect()
                grown, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            state = _loops.state_of(asyncio.get_running_loop())
            # What is kept for the next tasks: few, see below, of some 600 bytes.
            allowed = BYTES + BYTES_PER_THREAD * len(_pool.idle())
            assert grown < allowed + 600 * len(state.stacks)
            assert fds() <= files
            assert threads() <= running + THREADS
            assert len(state.timers) <= 1
            assert len(state.stacks) <= 100

    run(main)


def test_loops_that_come_and_go(run: Run) -> None:
    async def request() -> None:
        with background().with_timeout(FAR) as scope:
            await in_a_task_of_its_own(scope.with_cancel())

    def many(count: int) -> None:
        for _ in range(count // 10):
            run(request)
        gc.collect()
        assert len(_loops.states) <= before + 1

    before = len(_loops.states)  # of loops that other tests have left
    flat(many, 600)


# -- what is over is freed at once ----------------------------------------------------


class Payload:
    """What a request carries."""


PAYLOAD: Key[Payload] = Key("payload")
Refs = list[weakref.ref[Any]]


class Failure(Exception):
    pass


def request(ctx: Context, refs: Refs) -> Scope:
    """The scope of one request, with something in it."""
    payload = Payload()
    scope = ctx.with_value(PAYLOAD, payload).with_timeout(1.0)
    refs += weakref.ref(scope), weakref.ref(payload)
    return scope


def succeed(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    with request(ctx, refs) as scope:
        with scope.with_timeout(0.5) as inner, inner.interrupting(dict):
            assert inner.value(PAYLOAD)
            inner.wait(0.0)
            inner.after_func(dict)
            inner.fileno()


def time_out(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_timeout(FAR) as inner:
            inner.after_func(dict)
            clock.advance(2.0)
            inner.check()
    except DeadlineExceeded as error:
        refs.append(weakref.ref(error))
        assert error.detail
        assert error.__notes__


def fail(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_cancel() as inner:
            inner.after_func(partial(inner.value, PAYLOAD))
            raise Failure
    except Failure as error:
        refs.append(weakref.ref(error))


def be_canceled(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_cancel() as inner:
            with inner.interrupting(dict):
                scope.cancel(Failure())
    except Canceled as error:
        refs.append(weakref.ref(error))
        refs.append(weakref.ref(error.__cause__))


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def all_gone(refs: Refs) -> None:
    settle()
    # A thread of the pool lets go of what it ran a moment after it has run it.
    until = time.monotonic() + 1.0
    while any(ref() is not None for ref in refs) and time.monotonic() < until:
        time.sleep(0)
    left = [ref() for ref in refs if ref() is not None]
    assert not left, [gc.get_referrers(one) for one in left]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("how", [succeed, time_out, fail, be_canceled])
def test_a_finished_request_is_freed_at_once(
    how: Callable[[Context, Refs, VirtualClock], None],
) -> None:
    refs: Refs = []
    with VirtualClock() as clock, background().with_cancel() as service:
        how(service, refs, clock)
        assert len(refs) >= 2
        all_gone(refs)


async def succeed_async(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    with request(ctx, refs) as scope:
        with scope.with_timeout(0.5) as inner:
            await asyncio.sleep(0)
            await inner.wait_async(0.0)
            async with inner.interrupting(dict):
                await asyncio.sleep(0)
            await asyncio.create_task(block(inner.with_cancel()))


async def time_out_async(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_timeout(FAR):
            await clock.advance_async(2.0)
            await scope.sleep_async(1.0)
    except DeadlineExceeded as error:
        refs.append(weakref.ref(error))
        assert error.detail
        assert error.__notes__


async def fail_async(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_cancel():
            await asyncio.sleep(0)
            raise Failure
    except Failure as error:
        refs.append(weakref.ref(error))


async def be_canceled_async(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope, scope.with_cancel() as inner:
            async with inner.interrupting(dict):
                scope.cancel(Failure())
                await asyncio.get_running_loop().create_future()
    except Canceled as error:
        refs.append(weakref.ref(error))
        refs.append(weakref.ref(error.__cause__))


async def claim_async(ctx: Context, refs: Refs, clock: VirtualClock) -> None:
    try:
        with request(ctx, refs) as scope:
            with scope.with_cancel() as inner:
                scope.cancel()
                try:
                    inner.check()
                finally:
                    await asyncio.sleep(0)
    except Canceled as error:
        refs.append(weakref.ref(error))


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "how",
    [succeed_async, time_out_async, fail_async, be_canceled_async, claim_async],
)
def test_a_finished_request_is_freed_at_once_in_a_task(
    run: Run, how: Callable[[Context, Refs, VirtualClock], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        refs: Refs = []
        with VirtualClock() as clock, background().with_cancel() as service:
            await how(service, refs, clock)
            await asyncio.sleep(0)  # the loop lets go of the step it has just made
            await asyncio.sleep(0)
            assert len(refs) >= 2
            all_gone(refs)

    run(main)
