"""A wrapper that claims a deadline: Go's children show it, and end when it ends.

Go asks the parent's `Deadline()` when it derives: a later one is dropped and the child
shows the parent's; no timer is set for that, so the child ends with whatever the
wrapper hands through. A claim that is later than the real end is not believed here,
where Go shows it: time only shrinks.
"""

from __future__ import annotations

import asyncio
import gc
import select
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tests.loops import Run
from tether import Context, DeadlineExceeded, Key, background
from tether.testing import VirtualClock

KEY: Key[int] = Key("key")
REAL = 20.0
CLAIM = 5.0


class Claims(Wrapper):
    """Says that it ends at another time than what it hands through."""

    def __init__(self, inner: Context, claim: float | None) -> None:
        super().__init__(inner)
        self.claim = claim

    @property
    def deadline(self) -> float | None:
        return self.claim


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


MAKE: dict[str, Callable[[Context], Context]] = {
    "with_cancel": lambda ctx: ctx.with_cancel(),
    "with_timeout": lambda ctx: ctx.with_timeout(60.0, KeyError()),
    "between": lambda ctx: ctx.with_timeout((CLAIM + REAL) / 2, KeyError()),
    "with_value": lambda ctx: ctx.with_value(KEY, 1),
    "grandchild": lambda ctx: ctx.with_cancel().with_timeout(60.0),
    "below a value": lambda ctx: ctx.with_value(KEY, 1).with_deadline(REAL),
    "a plain wrapper of it": Wrapper,
    "below a plain wrapper of it": lambda ctx: Wrapper(ctx).with_cancel(),
    "below a plain wrapper of a child": lambda ctx: Wrapper(
        ctx.with_cancel()
    ).with_cancel(),
    "below a later claim": lambda ctx: Claims(ctx.with_cancel(), 7.0).with_cancel(),
}
each_kind = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@each_kind
def test_what_is_below_shows_the_claim_and_reckons_with_it(
    clock: VirtualClock, make: Callable[[Context], Context]
) -> None:
    with background().with_timeout(REAL) as inner:
        ctx = make(Claims(inner, CLAIM))
        clock.advance(1.0)
        assert ctx.deadline == CLAIM
        assert ctx.remaining() == CLAIM - 1.0
        ctx.require(CLAIM - 1.0)
        with pytest.raises(DeadlineExceeded):
            ctx.require(CLAIM)
        with ctx.with_timeout(60.0, reserve=1.0) as work:
            assert work.deadline == CLAIM - 1.0
        assert ctx.without_cancel().deadline is None
        clock.advance(CLAIM)
        assert ctx.remaining() == 0.0
        assert (ctx.done(), ctx.err(), ctx.cause()) == (False, None, None)
        ctx.check()


@each_kind
def test_it_ends_with_what_the_wrapper_hands_through(
    clock: VirtualClock, make: Callable[[Context], Context]
) -> None:
    late = ValueError("late")
    inner = background().with_timeout(REAL, late)
    ctx = make(Claims(inner, CLAIM))
    told = threading.Event()
    ctx.after_func(told.set)
    signaled: list[float] = []
    ctx.done_signal().add_callback(lambda: signaled.append(clock.now()))
    waiting = start(ctx.wait)
    fd = ctx.fileno()
    clock.advance(REAL - 1.0)
    assert not ctx.done()
    assert not told.is_set()
    assert not waiting.done()
    assert not select.select([fd], [], [], 0)[0]
    clock.advance(1.0)
    assert waiting.result(LONG)
    assert told.wait(LONG)
    assert select.select([fd], [], [], 0)[0]
    assert signaled == [REAL]
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert ctx.cause() is late


def test_who_only_looks_sees_the_end_too(clock: VirtualClock) -> None:
    ctx = Claims(background().with_timeout(REAL), CLAIM).with_cancel()
    clock.advance(REAL)
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert ctx.done()


def test_a_nearer_deadline_below_is_its_own(clock: VirtualClock) -> None:
    with background().with_timeout(REAL) as inner:
        soon = Claims(inner, CLAIM).with_timeout(2.0, KeyError())
        same = Claims(inner, CLAIM).with_deadline(CLAIM, OSError())
        assert (soon.deadline, same.deadline) == (2.0, CLAIM)
        assert "WithDeadline" in str(same)
        with Claims(inner, CLAIM).with_timeout(60.0) as late:
            assert str(late).endswith(".WithCancel")
        clock.advance(2.0)
        assert isinstance(soon.cause(), KeyError)
        clock.advance(CLAIM - 2.0)
        assert isinstance(same.cause(), OSError)
        assert not inner.done()


@pytest.mark.parametrize("claim", [None, REAL, 60.0, float("nan")])
def test_a_claim_to_last_longer_is_not_believed(
    clock: VirtualClock, claim: float | None
) -> None:
    inner = background().with_timeout(REAL)
    ctx = Claims(inner, claim).with_timeout(40.0)
    assert ctx.deadline == REAL
    assert ctx.remaining() == REAL
    clock.advance(REAL)
    assert ctx.done()


def test_a_claim_in_the_past_ends_nothing(clock: VirtualClock) -> None:
    clock.advance(CLAIM)
    inner = background().with_cancel()
    for claim in (CLAIM - 1.0, CLAIM):
        with Claims(inner, claim).with_timeout(60.0) as ctx:
            assert not ctx.done()
            assert ctx.remaining() == 0.0
        below = Claims(inner, claim).with_cancel()
        inner.with_cancel().cancel()
        assert not below.done()
        below.cancel()
    inner.cancel()


def test_a_claim_is_asked_for_when_something_is_derived(clock: VirtualClock) -> None:
    with background().with_cancel() as inner:
        wrapper = Claims(inner, 7.0)
        first = wrapper.with_cancel()
        wrapper.claim = CLAIM
        second = wrapper.with_cancel()
        wrapper.claim = None
        third = wrapper.with_cancel()
        found = first.deadline, second.deadline, third.deadline
        assert found == (7.0, CLAIM, None)
        assert wrapper.remaining() == float("inf")


def test_of_two_claims_the_nearer_one_is_shown(clock: VirtualClock) -> None:
    class Root(Own):
        deadline = 9.0

    own = Root()
    for claim, shown in ((CLAIM, CLAIM), (12.0, 9.0)):
        with own.with_cancel() as above:
            ctx = Claims(above, claim).with_cancel()
            assert ctx.deadline == shown
            waiting = start(ctx.wait, 30.0)
            clock.advance(30.0)
            assert waiting.result(LONG) is False


@pytest.mark.parametrize("open_outside", [True, False])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("claim", [CLAIM, REAL, 60.0])
def test_a_block_is_interrupted_when_the_real_end_comes(
    run: Run, claim: float, *, late: bool, open_outside: bool
) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            inner = background().with_timeout(REAL)
            ended: list[float] = []

            async def work() -> None:
                try:
                    with Claims(inner, claim).with_timeout(60.0):
                        await asyncio.get_running_loop().create_future()
                finally:
                    ended.append(clock.now())

            async def work_outside() -> None:
                with inner:
                    await work()

            if late:
                await clock.advance_async(CLAIM + 1.0)
            task = asyncio.create_task(work_outside() if open_outside else work())
            await clock.advance_async(REAL - 1.0 - clock.now())
            assert ended == []
            await clock.advance_async(1.0)
            assert ended == [REAL]
            with pytest.raises(DeadlineExceeded) as caught:
                await task
            assert caught.value.ctx is inner

    run(main)


def test_a_block_that_was_left_after_the_claim_is_not_kept(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            inner = background().with_timeout(REAL)
            with Claims(inner, CLAIM).with_cancel() as scope:
                await clock.advance_async(CLAIM + 1.0)
            gone = weakref.ref(scope)
            del scope
            gc.collect()
            assert gone() is None
            await clock.advance_async(REAL)

    run(main)


def test_a_scope_that_is_dropped_after_the_claim_warns(clock: VirtualClock) -> None:
    with background().with_timeout(REAL) as inner:
        scope = Claims(inner, CLAIM).with_cancel()
        clock.advance(CLAIM + 1.0)
        with pytest.warns(ResourceWarning, match="never canceled"):
            del scope
