"""merge: a scope that ends with the first of several contexts."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from tests.core.support import LONG, Own, Root, Wrapper, here, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Key,
    Scope,
    Signal,
    _timers,
    background,
    merge,
)
from tether.testing import VirtualClock

BG = background()
KEY: Key[str] = Key("key")


def pair() -> tuple[Scope, Scope]:
    return BG.with_cancel(), BG.with_cancel()


def registered(*contexts: Scope) -> int:
    return sum(len(ctx._hooks or ()) for ctx in contexts)


# -- which end -----------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1, 2])
def test_it_ends_with_the_first_that_ends(which: int) -> None:
    contexts = [BG.with_cancel() for _ in range(3)]
    both = merge(*contexts)
    assert not both.done()
    cause = KeyError("why")
    contexts[which].cancel(cause)
    assert both.done(), "before cancel() returns"
    for ctx in contexts:
        ctx.cancel(ValueError("later"))
    error = both.err()
    assert isinstance(error, Canceled)
    assert both.cause() is cause
    assert error.ctx is contexts[which]
    assert error.detail == contexts[which].err().detail  # type: ignore[union-attr]


@pytest.mark.parametrize("which", [0, 1])
def test_it_ends_with_what_is_above_them(which: int) -> None:
    roots = pair()
    below = [root.with_value(KEY, "x").with_timeout(60.0) for root in roots]
    both = merge(*below)
    roots[which].cancel()
    assert both.done()
    error = both.err()
    assert isinstance(error, Canceled)
    assert error.ctx is roots[which]
    for ctx in (*roots, *below):
        ctx.cancel()


def test_its_own_cancel_ends_it_alone() -> None:
    one, other = pair()
    both = merge(one, other)
    both.cancel(KeyError("mine"))
    assert isinstance(both.cause(), KeyError)
    assert not one.done()
    assert not other.done()
    other.cancel()
    one.cancel()
    assert isinstance(both.cause(), KeyError)


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_over_already(which: int) -> None:
    contexts = pair()
    contexts[which].cancel(KeyError("before"))
    both = merge(*contexts)
    assert both.done()
    assert isinstance(both.cause(), KeyError)
    with pytest.raises(Canceled), both:
        raise AssertionError
    contexts[1 - which].cancel()
    assert registered(*contexts) == 0


# -- deadlines -----------------------------------------------------------------


@pytest.mark.parametrize("times", [(5.0, 2.0), (2.0, 5.0), (None, 2.0), (2.0, None)])
def test_the_nearest_deadline(times: tuple[float | None, float | None]) -> None:
    with VirtualClock() as clock:
        contexts = [
            BG.with_cancel() if one is None else BG.with_timeout(one, KeyError(one))
            for one in times
        ]
        both = merge(*contexts)
        assert both.deadline == 2.0
        assert both.remaining() == 2.0
        waiting = start(both.wait)
        clock.advance(1.9)
        assert not both.done()
        clock.advance(0.1)
        assert waiting.result(LONG) is True
        error = both.err()
        assert isinstance(error, DeadlineExceeded)
        assert error.ctx is contexts[times.index(2.0)]
        assert isinstance(both.cause(), KeyError)
        assert "the 2 s budget set at core/test_merge.py" in error.detail
        for ctx in contexts:
            ctx.cancel()


def test_the_deadline_of_the_first_when_another_only_claims_one() -> None:
    class Claims(Own):
        @property
        def deadline(self) -> float:
            return 1.0

    with VirtualClock() as clock:
        first = BG.with_timeout(3.0)
        both = merge(first, Claims())
        assert both.deadline == 1.0
        waiting = start(both.wait)
        clock.advance(2.0)
        assert not both.done()
        clock.advance(1.0)
        assert waiting.result(LONG) is True
        assert isinstance(both.err(), DeadlineExceeded)


def test_what_is_derived_from_it_only_shrinks() -> None:
    with VirtualClock() as clock:
        first, second = BG.with_cancel(), BG.with_timeout(2.0)
        both = merge(first, second)
        longer, shorter = both.with_timeout(60.0), both.with_timeout(1.0)
        assert longer.deadline == 2.0
        clock.advance(1.0)
        assert shorter.done()
        assert not longer.done()
        clock.advance(1.0)
        assert longer.done()
        error = longer.err()
        assert isinstance(error, DeadlineExceeded)
        assert error.ctx is second
        first.cancel()


# -- values, text, odd arguments -----------------------------------------------


def test_the_values_of_the_first() -> None:
    one, other = pair()
    both = merge(one.with_value(KEY, "one"), other.with_value(KEY, "other"))
    assert both.value(KEY) == "one"
    assert merge(BG, other.with_value(KEY, "other")).value(KEY) is None
    one.cancel()
    other.cancel()


def test_one_context_alone_and_roots() -> None:
    one = BG.with_cancel()
    alone = merge(one)
    assert str(alone) == "context.Background.WithCancel.WithCancel"
    with merge(BG, one, BG.without_cancel()) as both, merge(BG, BG) as never:
        assert never.deadline is None
        one.cancel()
        assert both.done()
        assert not never.done()
    assert alone.done()


def test_it_says_where_it_was_made() -> None:
    one, other = pair()
    both, made = merge(one, other), here()
    both.cancel()
    error = both.err()
    assert isinstance(error, Canceled)
    assert made in error.detail
    one.cancel()
    other.cancel()


def test_merged_contexts_can_be_merged() -> None:
    scopes = [BG.with_cancel() for _ in range(4)]
    both = merge(merge(*scopes[:2]), merge(*scopes[2:]))
    scopes[3].cancel(KeyError())
    assert isinstance(both.cause(), KeyError)
    assert both.err().ctx is scopes[3]  # type: ignore[union-attr]
    for scope in scopes:
        scope.cancel()
    assert registered(*scopes) == 0


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", [Own, Root])
def test_user_made_contexts(place: int, kind: type[Own]) -> None:
    own, scope = kind(), BG.with_cancel()
    contexts: list[Context] = [scope]
    contexts.insert(place, own)
    both = merge(*contexts)
    error = LookupError("of my own")
    own.end(error)
    assert both.wait(LONG)
    assert both.err() is error
    scope.cancel()


def test_a_wrapper_is_seen_through() -> None:
    one, other = pair()
    both = merge(Wrapper(one), Wrapper(other))
    other.cancel(KeyError())
    assert isinstance(both.cause(), KeyError)
    one.cancel()


def test_a_user_made_context_that_raises_leaves_nothing() -> None:
    class Broken(Own):
        def done_signal(self) -> Signal:
            raise OSError("broken")

    one = BG.with_cancel()
    with pytest.raises(OSError, match="broken"):
        merge(one, Broken())
    assert registered(one) == 0
    one.cancel()


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError):
        merge()  # type: ignore[call-arg]
    one = BG.with_cancel()
    for wrong in ((None,), (one, None), (one, 1), ([one, one],)):
        with pytest.raises(TypeError, match="merge takes a context, not"):
            merge(*wrong)
    assert registered(one) == 0
    one.cancel()


# -- waiting -------------------------------------------------------------------


def test_threads_that_wait_are_told() -> None:
    with VirtualClock() as clock:
        one, other = pair()
        both = merge(one, other)
        waiting = [start(both.wait), start(both.with_timeout(60.0).wait)]
        told: list[bool] = []
        both.after_func(lambda: told.append(True))
        clock.settle()
        other.cancel()
        assert [pending.result(LONG) for pending in waiting] == [True, True]
        clock.settle()
        assert told == [True]
        one.cancel()


def test_it_interrupts_its_block(run: Run) -> None:
    async def main() -> None:
        one, other = pair()
        loop = asyncio.get_running_loop()
        with pytest.raises(Canceled) as caught:
            with merge(one, other):
                loop.call_soon(other.cancel, KeyError())
                await asyncio.sleep(LONG)
        assert caught.value.ctx is other
        with pytest.raises(DeadlineExceeded) as exceeded:
            with merge(one, BG.with_timeout(0.01)):
                await asyncio.sleep(LONG)
        assert "0.01 s budget" in exceeded.value.detail
        one.cancel()

    run(main)


def test_the_end_of_an_enclosing_block_is_known_as_its_end(run: Run) -> None:
    """An inner handler cannot take it for its own, though it came by the other way."""

    async def main() -> None:
        attempts = 0
        elsewhere = BG.with_cancel()
        with pytest.raises(DeadlineExceeded) as caught:
            with BG.with_timeout(0.01) as outer:
                while True:
                    attempts += 1
                    try:
                        both = merge(elsewhere, outer)
                        await both.sleep_async(LONG)
                    except DeadlineExceeded:
                        continue
        assert attempts == 1
        assert caught.value.ctx is outer
        elsewhere.cancel()

    run(main)


# -- nothing is left -----------------------------------------------------------


def test_leaving_unregisters() -> None:
    one, other = BG.with_timeout(60.0), BG.with_timeout(30.0)
    timers = len(_timers.threads)
    for _ in range(3):
        with merge(one, other):
            assert registered(one, other) == 2
        assert registered(one, other) == 0
    assert len(_timers.threads) <= timers  # those of others may have come
    one.cancel()
    other.cancel()


@pytest.mark.parametrize("which", [0, 1])
def test_the_end_of_one_unregisters_from_the_others(which: int) -> None:
    contexts = pair()
    both = merge(*contexts)
    gone = weakref.ref(both)
    contexts[which].cancel()
    assert registered(*contexts) == 0
    del both
    gc.collect()
    assert gone() is None
    contexts[1 - which].cancel()


def test_it_lives_as_long_as_something_hangs_on_it() -> None:
    one, other = pair()
    told = threading.Event()
    merge(one, other).after_func(told.set)
    gc.collect()
    other.cancel()
    assert told.wait(LONG)
    one.cancel()


@pytest.mark.stress
@pytest.mark.usefixtures("switching")
def test_ends_from_several_threads_at_once() -> None:
    for _ in range(300):
        contexts = [BG.with_cancel() for _ in range(3)]
        barrier = threading.Barrier(4)
        made: list[Scope] = []

        def end(ctx: Scope) -> None:
            barrier.wait()
            ctx.cancel(KeyError(id(ctx)))

        threads = [threading.Thread(target=end, args=(ctx,)) for ctx in contexts]
        for thread in threads:
            thread.start()
        barrier.wait()
        made.append(merge(*contexts))
        for thread in threads:
            thread.join()
        (both,) = made
        assert both.done()
        error = both.err()
        assert isinstance(error, Canceled)
        assert error.ctx in contexts
        assert both.cause() is error.ctx.cause()
        assert registered(*contexts) == 0
