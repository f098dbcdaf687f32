"""Causes: kept as they are, taken over whole, and stored by nothing but a cancel."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, Key, background
from tether.testing import VirtualClock


class GoneError(Exception):
    pass


def test_a_live_context_has_no_cause() -> None:
    with background().with_timeout(60.0, GoneError()) as ctx:
        assert ctx.cause() is None
        assert ctx.with_value(Key("k"), 1).cause() is None
        assert Wrapper(ctx).cause() is None
    assert background().cause() is None


def test_the_very_object_is_kept_and_reaches_all_that_is_below() -> None:
    cause = GoneError("client")
    root = background().with_cancel()
    below: list[Context] = [
        root.with_cancel(),
        root.with_timeout(60.0, KeyError()),
        root.with_value(Key("k"), 1),
        Wrapper(root),
        Wrapper(root).with_cancel(),
        Wrapper(Wrapper(root.with_cancel())).with_value(Key("k"), 1).with_cancel(),
    ]
    root.cancel(cause)
    for ctx in [root, *below]:
        assert ctx.cause() is cause
        with pytest.raises(Canceled) as caught:
            ctx.check()
        assert caught.value.__cause__ is cause
    for born in (root.with_cancel(), root.with_timeout(0.0, KeyError())):
        assert born.cause() is cause


def test_a_base_exception_may_be_a_cause() -> None:
    for cause in (KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(3)):
        scope = background().with_cancel()
        scope.cancel(cause)
        assert scope.cause() is cause
        assert isinstance(scope.err(), Canceled)


def test_a_context_error_as_a_cause_is_kept_too() -> None:
    ended = background().with_timeout(0.0)
    scope = background().with_cancel()
    error = ended.err()
    scope.cancel(error)
    assert scope.cause() is error
    assert isinstance(scope.err(), Canceled)


def test_the_cause_of_a_deadline_is_for_the_deadline_only() -> None:
    scope = background().with_timeout(60.0, GoneError())
    scope.cancel()
    assert type(scope.cause()) is Canceled


def test_a_dropped_deadline_drops_its_cause() -> None:
    with VirtualClock() as clock:
        outer = background().with_timeout(1.0)
        inner = outer.with_timeout(2.0, GoneError())
        clock.advance(3.0)
        assert type(inner.cause()) is DeadlineExceeded
        assert "WithDeadline" not in str(inner).removeprefix(str(outer))


def test_leaving_by_an_error_is_no_cause_and_keeps_nothing_alive() -> None:
    class Request:
        pass

    def handle() -> weakref.ref[Request]:
        request = Request()
        try:
            with scope:
                raise GoneError(request)
        except GoneError:
            return weakref.ref(request)

    scope = background().with_cancel()
    gone = handle()
    gc.collect()
    assert gone() is None
    assert type(scope.cause()) is Canceled


def test_only_the_first_cause_counts_whoever_gives_it(switching: None) -> None:
    for _ in range(100):
        scope = background().with_cancel()
        child = scope.with_cancel()
        causes = [GoneError(number) for number in range(3)]
        canceling = [start(scope.cancel, cause) for cause in causes]
        seen = child.cause()
        for future in canceling:
            future.result(LONG)
        assert scope.cause() in causes
        assert child.cause() is scope.cause()
        assert seen is None or seen is scope.cause()


def test_without_cancel_has_no_cause() -> None:
    scope = background().with_cancel()
    scope.cancel(GoneError())
    assert scope.without_cancel().cause() is None
    assert scope.without_cancel().with_value(Key("k"), 1).cause() is None


def test_an_error_of_a_user_made_context_is_error_and_cause_below() -> None:
    own = Own()
    child = own.with_cancel()
    grandchild = child.with_timeout(60.0).with_value(Key("k"), 1)
    boom = GoneError("boom")
    own.end(boom)
    for ctx in (child, grandchild):
        assert ctx.err() is boom
        assert ctx.cause() is boom
        with pytest.raises(GoneError) as caught:
            ctx.check()
        assert caught.value is boom


def test_the_error_of_a_block_is_raised_from_the_cause(run: Run) -> None:
    cause = GoneError("client")

    async def main() -> None:
        scope = background().with_cancel()
        asyncio.get_running_loop().call_soon(scope.cancel, cause)
        with pytest.raises(Canceled) as caught:
            with scope:
                await scope.sleep_async(LONG)
        assert caught.value.__cause__ is cause

    run(main)
