"""The errors: what they are, what they say of whose end it was, what they keep."""

from __future__ import annotations

import copy
import gc
import pickle
import traceback
import weakref
from collections.abc import Callable

import pytest

from tests.core.support import Own, here
from tether import Canceled, Context, ContextError, DeadlineExceeded, Key, background
from tether.testing import VirtualClock


class SlowError(Exception):
    pass


def error_of(ctx: Context) -> ContextError:
    error = ctx.err()
    assert isinstance(error, ContextError)
    return error


def test_the_texts_are_gos() -> None:
    assert str(Canceled()) == "context canceled"
    assert str(DeadlineExceeded()) == "context deadline exceeded"
    assert str(Canceled("more")) == "context canceled"


def test_a_deadline_is_a_timeout_error_and_a_cancel_is_not() -> None:
    with VirtualClock() as clock:
        scope = background().with_timeout(1.0)
        clock.advance(1.0)
        with pytest.raises(TimeoutError) as caught:
            scope.check()
    assert isinstance(caught.value, DeadlineExceeded)
    assert not issubclass(Canceled, TimeoutError)


def test_a_fresh_error_each_time() -> None:
    scope = background().with_cancel()
    scope.cancel()
    with pytest.raises(Canceled) as first:
        scope.check()
    with pytest.raises(Canceled) as second:
        scope.check()
    seen = [scope.err(), scope.err(), scope.cause(), first.value, second.value]
    assert len({id(error) for error in seen}) == 5
    assert error_of(scope).__traceback__ is None


def test_users_may_build_the_errors_themselves() -> None:
    for error in (Canceled(), DeadlineExceeded()):
        assert error.detail == str(error)
        assert error.ctx is None
        text = "".join(traceback.format_exception(error))
        assert text == f"tether._errors.{type(error).__name__}: {error}\n"


# -- whose end it was ----------------------------------------------------------


def test_detail_names_the_budget_and_where_it_was_set() -> None:
    with VirtualClock() as clock:
        made, scope = here(), background().with_timeout(2.5)
        clock.advance(3.0)
        error = error_of(scope)
    assert error.detail == f"the 2.5 s budget set at {made} ran out"
    assert error.ctx is scope


def test_detail_of_a_deadline_names_the_time_that_it_gave() -> None:
    with VirtualClock() as clock:
        clock.advance(10.0)
        made, scope = here(), background().with_deadline(14.0)
        clock.advance(5.0)
        error = error_of(scope)
    assert error.detail == f"the 4 s budget set at {made} ran out"


@pytest.mark.parametrize(
    "derive",
    [
        lambda scope: scope.with_cancel(),
        lambda scope: scope.with_timeout(60.0),
        lambda scope: scope.with_value(Key("k"), 1),
        lambda scope: scope.with_cancel().with_value(Key("k"), 1).with_cancel(),
    ],
    ids=["cancel", "timeout", "value", "deep"],
)
def test_an_inherited_end_is_told_as_the_ancestors(
    derive: Callable[[Context], Context],
) -> None:
    with VirtualClock() as clock:
        made, outer = here(), background().with_timeout(2.0)
        inner = derive(outer)
        clock.advance(2.0)
        error = error_of(inner)
    assert error.detail == f"the 2 s budget set at {made} ran out"
    assert error.ctx is outer


def test_detail_tells_what_is_left_above() -> None:
    with VirtualClock() as clock:
        outer = background().with_timeout(10.0)
        made, inner = here(), outer.with_timeout(2.0)
        clock.advance(2.0)
        error = error_of(inner)
        assert error.detail == (
            f"the 2 s budget set at {made} ran out; 8 s are left above it"
        )
        outer.cancel()


def test_detail_tells_the_cause() -> None:
    with VirtualClock() as clock:
        made, timed = here(), background().with_timeout(1.0, SlowError("the pool"))
        clock.advance(1.0)
        error = error_of(timed)
    assert error.detail == (
        f"the 1 s budget set at {made} ran out: SlowError: the pool"
    )
    made, scope = here(), background().with_cancel()
    scope.cancel(SlowError())
    assert error_of(scope).detail == (
        f"the context made at {made} was canceled: SlowError"
    )


def test_detail_of_a_budget_that_was_spent_when_it_was_set() -> None:
    made, scope = here(), background().with_timeout(0)
    assert error_of(scope).detail == (
        f"the deadline set at {made} had passed when it was set"
    )


def test_detail_of_a_context_used_after_its_block() -> None:
    with background().with_timeout(60.0) as outer:
        made, scope = here(), outer.with_cancel()
        with scope as inner:
            below = inner.with_value(Key("k"), 1)
        error = error_of(below)
        assert error.ctx is scope
        assert error.detail.startswith(
            f"the with block that owned this context has ended ({made}); "
            "use the outer context after the block"
        )


def test_a_block_that_was_canceled_and_then_left_was_canceled() -> None:
    made, scope = here(), background().with_cancel()
    with scope:
        scope.cancel()
    assert error_of(scope).detail == f"the context made at {made} was canceled"


def test_the_label_names_the_work_in_all_that_is_below() -> None:
    with VirtualClock() as clock:
        made, root = here(), background().with_timeout(1.0, label="GET /users/{id}")
        below = root.with_cancel().with_value(Key("k"), 1)
        clock.advance(1.0)
        text = f"the 1 s budget set at {made} ran out [GET /users/{{id}}]"
        assert error_of(root).detail == text
        assert error_of(below).detail == text


def test_the_label_is_inherited_and_the_nearest_counts() -> None:
    with background().with_cancel(label="GET /") as root:
        assert root.label == "GET /"
        assert root.with_value(Key("k"), 1).label == "GET /"
        assert root.without_cancel().label == "GET /"
        with root.with_timeout(1.0) as inner:
            assert inner.label == "GET /"
        with root.with_deadline(1e12, label="audit") as inner:
            assert inner.label == "audit"
        with Own(root).with_cancel() as inner:
            assert inner.label == "GET /"
    assert background().label == ""


def test_more_detail_stays_with_its_error() -> None:
    scope = background().with_cancel()
    made = here().rpartition(":")[0]
    scope.cancel()
    error = error_of(scope)
    error.add_detail("while paying")
    assert error.detail.startswith("the context made at " + made)
    assert error.detail.endswith("was canceled; while paying")
    assert not error_of(scope).detail.endswith("while paying")


# -- require -------------------------------------------------------------------


def test_require_refuses_at_the_door_and_the_context_goes_on() -> None:
    with VirtualClock() as clock:
        with background().with_timeout(1.0) as ctx:
            clock.advance(0.75)
            ctx.require(0.25)
            with pytest.raises(DeadlineExceeded) as caught:
                ctx.require(0.5)
            assert caught.value.detail.startswith(
                "0.5 s are needed and 0.25 s are left"
            )
            assert caught.value.ctx is ctx
            assert ctx.err() is None
            ctx.require(0.25)


def test_require_of_a_context_without_a_deadline_is_met() -> None:
    background().require(1e300)
    background().require(float("inf"))


def test_require_of_a_done_context_raises_its_end() -> None:
    scope = background().with_timeout(60.0)
    scope.cancel()
    with pytest.raises(Canceled):
        scope.require(0.0)


# -- in tracebacks, through pickle, in memory ----------------------------------


def test_a_traceback_shows_the_detail_once() -> None:
    scope = background().with_cancel()
    scope.cancel()
    with pytest.raises(Canceled) as caught:
        scope.check()
    text = "".join(traceback.format_exception(caught.value))
    assert text.count(caught.value.detail) == 1
    assert text.endswith(f"context canceled\n{caught.value.detail}\n")


def test_a_users_notes_stand_below_the_detail() -> None:
    scope = background().with_cancel()
    scope.cancel()
    error = error_of(scope)
    error.add_note("while paying")
    lines = traceback.format_exception_only(error)
    assert [line.rstrip() for line in lines[-2:]] == [error.detail, "while paying"]


def test_the_cause_is_the_cause_of_the_error_too() -> None:
    cause = SlowError("the pool")
    scope = background().with_cancel()
    scope.cancel(cause)
    with pytest.raises(Canceled) as caught:
        scope.with_value(Key("k"), 1).check()
    assert caught.value.__cause__ is cause
    assert scope.cause() is cause


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_is_pickled_without_its_context(protocol: int) -> None:
    with VirtualClock() as clock:
        scope = background().with_timeout(1.0, SlowError("the pool"))
        clock.advance(1.0)
        error = error_of(scope)
        for back in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
            assert type(back) is DeadlineExceeded
            assert str(back) == str(error)
            assert back.detail == error.detail
            assert back.ctx is None
            assert "".join(traceback.format_exception(back)).count(error.detail) == 1


def test_notes_can_be_set_by_whoever_pickles_them_too() -> None:
    error = Canceled("who")
    error.__notes__ = ["who", "and more"]
    error.add_note("last")
    assert error.__notes__ == ["who", "and more", "last"]


def test_a_context_cannot_be_pickled_or_copied() -> None:
    with background().with_cancel() as scope:
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="belongs to its process"):
                take(scope)


@pytest.mark.parametrize("how", ["check", "sleep", "require", "poll", "enter"])
def test_no_cycle_keeps_a_context_that_raised(how: str) -> None:
    gc.disable()
    try:
        scope = background().with_cancel()
        inner = scope.with_cancel()
        scope.cancel()
        calls: dict[str, Callable[[], object]] = {
            "check": scope.check,
            "sleep": lambda: scope.sleep(1.0),
            "require": lambda: scope.require(1.0),
            "poll": lambda: list(scope.poll([1])),
            "enter": inner.__enter__,
        }
        try:
            calls[how]()
        except ContextError:
            pass
        gone = [weakref.ref(scope), weakref.ref(inner)]
        del scope, inner, calls
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_leaving_a_block_by_an_error_keeps_nothing_of_it() -> None:
    error = SlowError()
    scope = background().with_cancel()
    with pytest.raises(SlowError):
        with scope:
            raise error
    assert type(scope.cause()) is Canceled
    assert error_of(scope).__cause__ is None
