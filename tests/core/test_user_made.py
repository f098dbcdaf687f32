"""User-made contexts: what is asked of them, when, and what they can do wrong."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.core.support import LONG, Own, Root, Wrapper, here, start
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Key,
    Scope,
    Signal,
    background,
)
from tether.testing import VirtualClock

KEY: Key[int] = Key("key")


class Counted(Own):
    """One that counts who listens to its signal."""

    class Listened(Signal):
        __slots__ = ("listeners",)

        def __init__(self) -> None:
            super().__init__()
            self.listeners = 0

        def add_callback(self, callback: Callable[[], object]) -> Callable[[], bool]:
            remove = super().add_callback(callback)
            self.listeners += 1

            def gone() -> bool:
                self.listeners -= 1
                return remove()

            return gone

    def __init__(self) -> None:
        super().__init__()
        self.signal = self.listened = Counted.Listened()


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


# -- a subclass without anything, a plain wrapper ------------------------------


def test_a_subclass_that_overrides_nothing_is_never_over() -> None:
    class Bare(Context):
        pass

    bare = Bare()
    assert (bare.deadline, bare.err(), bare.cause(), bare.done()) == (None,) * 3 + (
        False,
    )
    assert bare.value(KEY, 7) == 7
    assert bare.remaining() == float("inf")
    bare.check()
    assert bare.wait(0.0) is False
    with bare.with_cancel() as scope:
        assert not scope.done()
    assert scope.done()


def test_its_text_is_its_types_name() -> None:
    class Mine(Context):
        pass

    class Said(Context):
        def __str__(self) -> str:
            return "said"

    assert str(Mine()).endswith("Mine")
    assert repr(Mine()).startswith("<Mine ")
    with Mine().with_value(KEY, 1).with_cancel() as ctx:
        assert str(ctx).endswith("Mine.WithValue(key, int).WithCancel")
    with Said().with_cancel() as ctx:
        assert str(ctx) == "said.WithCancel"


def test_what_is_made_below_a_plain_wrapper_joins_the_context_inside() -> None:
    scope = background().with_timeout(60.0)
    below = Wrapper(Wrapper(scope)).with_cancel()
    detached = Wrapper(scope).without_cancel()
    assert below.deadline == scope.deadline
    assert below.done_signal() != scope.done_signal()
    told = threading.Event()
    Wrapper(scope).after_func(told.set)
    scope.cancel(KeyError())
    assert isinstance(below.err(), Canceled)
    assert isinstance(below.cause(), KeyError)
    assert told.wait(LONG)
    assert not detached.done()
    error = below.err()
    assert isinstance(error, ContextError)
    assert error.ctx is scope


def test_a_plain_wrapper_costs_its_context_no_listener(clock: VirtualClock) -> None:
    with background().with_timeout(60.0) as scope:
        below = Wrapper(scope).with_timeout(5.0)
        gone = weakref.ref(below)
        below.cancel()
        del below
        gc.collect()
        assert gone() is None


def test_a_wrapper_of_a_root() -> None:
    with Wrapper(background()).with_cancel() as scope:
        assert not scope.done()
    with background().with_value(KEY, 1).with_cancel() as outer:
        with Wrapper(outer.without_cancel()).with_cancel() as scope:
            outer.cancel()
            assert not scope.done()
            assert scope.value(KEY) == 1


def test_below_a_wrapper_of_what_never_ends_nothing_is_registered(
    clock: VirtualClock,
) -> None:
    class Registers(Wrapper):
        def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
            raise AssertionError("nothing could ever end it")

    with background().with_cancel() as outer:
        for root in (background(), outer.without_cancel()):
            assert Wrapper(root).after_func(print)()
            below = Registers(root).with_timeout(60.0)
            gone = weakref.ref(below)
            gc.disable()
            try:
                with pytest.warns(ResourceWarning, match="never canceled"):
                    del below
                assert gone() is None
            finally:
                gc.enable()


def test_a_function_for_what_never_ends_keeps_nothing_alive() -> None:
    wrapper = Wrapper(background())
    stop = wrapper.after_func(print)
    gone = weakref.ref(wrapper)
    gc.disable()
    try:
        del wrapper
        assert gone() is None
    finally:
        gc.enable()
    assert (stop(), stop()) == (True, False)


# -- an end of its own ---------------------------------------------------------


def test_its_end_reaches_everything_below_when_it_is_reported() -> None:
    own = Own()
    below: list[Context] = [
        own.with_cancel(),
        own.with_timeout(60.0),
        own.with_value(KEY, 1),
        own.with_cancel().with_value(KEY, 1).with_cancel(),
        Wrapper(own.with_cancel()).with_cancel(),
        Wrapper(own).with_cancel(),
    ]
    own.error = Canceled()  # says so, but its signal is not set: nobody asks
    assert [ctx.done() for ctx in below] == [False] * 6
    own.end(DeadlineExceeded())
    for ctx in [own, *below]:
        assert ctx.done()
        assert isinstance(ctx.err(), DeadlineExceeded)
        assert isinstance(ctx.cause(), DeadlineExceeded)
        with pytest.raises(DeadlineExceeded):
            ctx.check()


def test_its_end_is_captured_when_it_is_reported() -> None:
    own = Own()
    child = own.with_cancel()
    own.end(Canceled())
    own.error = DeadlineExceeded()
    assert isinstance(child.err(), Canceled)
    assert isinstance(own.with_cancel().err(), DeadlineExceeded)


def test_an_error_of_ours_is_fresh_and_names_the_context_that_ended() -> None:
    own = Own()
    child = own.with_cancel().with_cancel()
    given = Canceled()
    own.end(given)
    first, second = child.err(), child.err()
    assert isinstance(first, Canceled)
    assert first is not second
    assert first is not given
    assert first.ctx is own


def test_a_child_that_ended_before_keeps_its_own_end(clock: VirtualClock) -> None:
    own = Own()
    canceled = own.with_cancel()
    late = own.with_timeout(5.0)
    canceled.cancel(KeyError())
    clock.advance(6.0)
    own.end(ValueError())
    assert isinstance(canceled.cause(), KeyError)
    assert isinstance(late.err(), DeadlineExceeded)


def test_a_deadline_that_it_only_claims_ends_nothing(clock: VirtualClock) -> None:
    class Claims(Own):
        deadline = 5.0

    own = Claims()
    child = own.with_cancel()
    timed = own.with_timeout(60.0, KeyError())
    sooner = own.with_timeout(2.0)
    told: list[str] = []
    child.done_signal().add_callback(lambda: told.append("child"))
    assert (own.deadline, child.deadline, timed.deadline) == (5.0, 5.0, 5.0)
    assert own.remaining() == 5.0
    waiting = start(timed.wait, 20.0)
    clock.advance(10.0)
    assert sooner.done()
    assert not child.done()
    assert not timed.done()
    assert told == []
    clock.advance(10.0)
    assert waiting.result(LONG) is False
    own.end(Canceled())
    assert told == ["child"]
    assert isinstance(timed.err(), Canceled)


def test_a_deadline_is_a_property_that_is_asked_when_it_matters(
    clock: VirtualClock,
) -> None:
    class Wrapped(Wrapper):
        deadline = 5.0

    scope = background().with_cancel()
    with Wrapped(scope).with_timeout(2.0) as child:
        clock.advance(3.0)
        assert child.done()
    scope.cancel()


def test_without_cancel_below_it() -> None:
    own = Own(background().with_value(KEY, 1))
    child = own.with_cancel()
    detached = child.without_cancel().with_value(Key("other"), 2)
    own.end(Canceled())
    assert not detached.done()
    assert detached.value(KEY) == 1


# -- registered once, unregistered at the end ----------------------------------


def make_and_end(ctx: Context, how: str, clock: VirtualClock) -> None:
    if how == "after_func":
        assert ctx.with_value(KEY, 1).after_func(print)()
    elif how == "cancel":
        ctx.with_cancel().cancel()
    elif how == "leave":
        with ctx.with_cancel():
            pass
    elif how == "timeout":
        ctx.with_timeout(60.0).cancel()
    elif how == "grandchild":
        child = ctx.with_cancel()
        child.with_timeout(60.0).after_func(print)
        child.cancel()
    elif how == "wait":
        ctx.wait(0.0)
    else:
        scope = ctx.with_timeout(5.0)
        clock.advance(5.0)
        assert scope.done()


ENDS = ["after_func", "cancel", "leave", "timeout", "grandchild", "wait", "deadline"]


@pytest.mark.parametrize("how", ENDS)
def test_each_child_listens_once_and_no_longer_than_it_lasts(
    how: str, clock: VirtualClock
) -> None:
    own = Counted()
    for _ in range(3):
        make_and_end(own, how, clock)
        assert own.listened.listeners == 0
    children = [own.with_cancel() for _ in range(3)]
    children[0].with_cancel().with_timeout(60.0).done_signal().add_callback(print)
    assert own.listened.listeners == 3
    for child in children:
        child.cancel()
    assert own.listened.listeners == 0


@pytest.mark.parametrize("how", [how for how in ENDS if how != "wait"])
def test_one_with_an_after_func_is_listened_to_through_it(
    how: str, clock: VirtualClock
) -> None:
    root = Root()
    make_and_end(root, how, clock)
    assert root.registered == []
    child = root.with_timeout(60.0)
    grandchild = child.with_cancel()
    assert len(root.registered) == 1
    root.end(KeyError())
    assert isinstance(grandchild.err(), KeyError)


def test_a_dropped_child_is_held_by_its_listener_only_while_it_may_end(
    clock: VirtualClock,
) -> None:
    own = Counted()
    scope = own.with_timeout(5.0)
    gone = weakref.ref(scope)
    del scope
    clock.advance(5.0)
    gc.collect()
    assert own.listened.listeners == 0
    assert gone() is None


@pytest.mark.parametrize("of", ["it", "a value", "a wrapper"])
def test_a_function_that_has_run_holds_it_no_longer(of: str) -> None:
    own = Own()
    ctx = {"a value": own.with_value(KEY, 1), "a wrapper": Wrapper(own)}.get(of, own)
    told = threading.Event()
    stop = ctx.after_func(told.set)
    gone = weakref.ref(own)
    gc.disable()
    try:
        own.end(Canceled())
        assert told.wait(LONG)
        del own, ctx, stop
        assert gone() is None
    finally:
        gc.enable()


def test_a_child_of_one_that_is_over_is_born_over_and_never_registers() -> None:
    root = Root()
    root.end(Canceled())
    assert root.with_cancel().done()
    assert root.with_timeout(60.0).done()
    assert root.ever == 0


def test_it_may_cancel_its_child_itself_while_it_ends() -> None:
    class Owner(Own):
        child: Scope

        def end(self, error: BaseException | None) -> None:
            self.error = error
            self.child.cancel(KeyError())
            self.signal.set()

    own = Owner()
    own.child = own.with_cancel()
    own.end(Canceled())
    assert isinstance(own.child.cause(), KeyError)


def test_a_place_below_one_is_where_the_user_derived() -> None:
    made, scope = here(), Own().with_timeout(60.0)
    scope.cancel()
    error = scope.err()
    assert isinstance(error, ContextError)
    assert error.detail == f"the context made at {made} was canceled"


def test_subclasses_may_have_names_like_ours() -> None:
    class Mine(Own):
        _end = _hooks = _up = _node = _parent = _state = _values = "mine"
        _error = _raise = _poll = _park = "mine"

    own = Mine()
    with own.with_cancel() as scope, scope.interrupting(print):
        assert list(own.poll([1])) == [1]
        assert own.wait(0.0) is False
    own.end(Canceled())
    with pytest.raises(Canceled):
        own.check()
