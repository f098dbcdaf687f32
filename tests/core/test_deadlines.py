"""Deadlines: they only shrink, and the earliest end wins however late it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.support import LONG, start
from tether import Canceled, Context, DeadlineExceeded, Key, Scope, background
from tether.testing import VirtualClock


class OuterError(Exception):
    pass


class InnerError(Exception):
    pass


# -- reserve and remaining -----------------------------------------------------


def test_reserve_keeps_that_much_of_the_parents_time_back() -> None:
    with VirtualClock() as clock:
        with background().with_timeout(10.0) as ctx:
            clock.advance(2.0)
            with ctx.with_timeout(60.0, reserve=3.0) as query:
                assert query.deadline == 7.0
                assert query.remaining() == 5.0
            with ctx.with_deadline(9.0, reserve=3.0) as query:
                assert query.deadline == 7.0
            with ctx.with_timeout(1.0, reserve=3.0) as query:
                assert query.deadline == 3.0


def test_reserve_of_a_context_without_a_deadline_is_no_matter() -> None:
    with VirtualClock():
        with background().with_timeout(5.0, reserve=3.0) as ctx:
            assert ctx.deadline == 5.0


def test_a_reserve_of_more_than_is_left_leaves_nothing() -> None:
    with VirtualClock():
        with background().with_timeout(1.0) as ctx:
            query = ctx.with_timeout(60.0, reserve=2.0)
            assert isinstance(query.err(), DeadlineExceeded)
            assert query.remaining() == 0.0
            assert ctx.err() is None


def test_reserve_alone_gives_the_cause_of_its_own_deadline() -> None:
    with VirtualClock() as clock:
        with background().with_timeout(10.0, OuterError()) as ctx:
            query = ctx.with_timeout(60.0, InnerError(), reserve=4.0)
            clock.advance(6.0)
            assert isinstance(query.cause(), InnerError)
            assert ctx.cause() is None


def test_remaining_is_never_negative_and_goes_on_after_a_cancel() -> None:
    with VirtualClock() as clock:
        scope = background().with_timeout(4.0)
        clock.advance(1.0)
        assert scope.remaining() == 3.0
        scope.cancel()
        assert scope.remaining() == 3.0
        clock.advance(10.0)
        assert scope.remaining() == 0.0
        assert scope.deadline == 4.0
    assert background().remaining() == float("inf")


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_a_timeout_beyond_all_time_is_one_that_never_comes(seconds: float) -> None:
    with VirtualClock() as clock:
        with background().with_timeout(seconds) as ctx:
            waiting = start(ctx.wait, 5.0)
            clock.advance(5.0)
            assert waiting.result(LONG) is False
            with ctx.with_timeout(1.0) as inner:
                clock.advance(1.0)
                assert inner.done()


# -- looked at late ------------------------------------------------------------


def looked_at_late(moves: Callable[[VirtualClock, Scope], Context]) -> Context:
    """What `moves` gives, which nobody has looked at before the time 100."""
    with VirtualClock() as clock:
        outer = background().with_timeout(5.0, OuterError())
        ctx = moves(clock, outer)
        clock.advance(100.0 - clock.now())
        assert ctx.done()
        assert outer.done()
        return ctx


def test_the_inner_deadline_came_first() -> None:
    ctx = looked_at_late(lambda _, outer: outer.with_timeout(3.0, InnerError()))
    assert isinstance(ctx.cause(), InnerError)


def test_the_outer_deadline_came_first() -> None:
    ctx = looked_at_late(lambda _, outer: outer.with_timeout(7.0, InnerError()))
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert isinstance(ctx.cause(), OuterError)


def test_of_two_deadlines_at_one_instant_the_nearer_counts() -> None:
    ctx = looked_at_late(lambda _, outer: outer.with_timeout(5.0, InnerError()))
    assert isinstance(ctx.cause(), InnerError)


def test_the_nearer_counts_also_when_both_are_waited_for() -> None:
    with VirtualClock() as clock:
        inner = []
        for _ in range(50):  # which of them is told first is chance
            outer = background().with_timeout(5.0, OuterError())
            inner.append(outer.with_timeout(5.0, InnerError()))
            outer.done_signal().add_callback(int)
            inner[-1].done_signal().add_callback(int)
        clock.advance(5.0)
        assert {type(ctx.cause()) for ctx in inner} == {InnerError}


def test_a_parent_left_before_the_childs_deadline() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        with outer:
            child = outer.with_timeout(3.0)
            clock.advance(2.0)
        return child

    ctx = looked_at_late(moves)
    assert isinstance(ctx.err(), Canceled)
    assert isinstance(ctx.cause(), Canceled)


def test_a_parent_left_after_the_childs_deadline() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        with outer:
            child = outer.with_timeout(3.0)
            clock.advance(4.0)
        return child

    assert isinstance(looked_at_late(moves).err(), DeadlineExceeded)


def test_a_parent_left_after_its_own_deadline() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        with outer:
            child = outer.with_cancel()
            clock.advance(6.0)
        return child

    ctx = looked_at_late(moves)
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert isinstance(ctx.cause(), OuterError)


def test_a_block_left_at_the_very_instant_of_the_deadline_above() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        with outer.with_cancel() as child:
            clock.advance(5.0)
        return child

    ctx = looked_at_late(moves)
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert isinstance(ctx.cause(), OuterError)


def test_a_cancel_takes_an_end_above_that_nobody_had_seen() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        child = outer.with_cancel().with_cancel()
        clock.advance(6.0)
        child.cancel(InnerError())
        return child

    ctx = looked_at_late(moves)
    assert isinstance(ctx.err(), DeadlineExceeded)
    assert isinstance(ctx.cause(), OuterError)


def test_a_cancel_before_the_deadline_above_keeps_its_own_end() -> None:
    def moves(clock: VirtualClock, outer: Scope) -> Context:
        child = outer.with_cancel()
        clock.advance(4.0)
        child.cancel(InnerError())
        return child

    ctx = looked_at_late(moves)
    assert isinstance(ctx.err(), Canceled)
    assert isinstance(ctx.cause(), InnerError)


def test_an_end_once_seen_never_changes() -> None:
    with VirtualClock() as clock:
        outer = background().with_timeout(5.0, OuterError())
        inner = outer.with_timeout(3.0, InnerError())
        outer.cancel(KeyError())
        assert isinstance(inner.cause(), KeyError)
        clock.advance(10.0)
        assert isinstance(inner.cause(), KeyError)
        assert isinstance(inner.with_value(Key("k"), 1).err(), Canceled)


def test_a_scope_born_under_an_end_that_nobody_had_seen() -> None:
    with VirtualClock() as clock:
        outer = background().with_timeout(5.0, OuterError())
        below = outer.with_cancel()
        clock.advance(6.0)
        for born in (
            below.with_cancel(),
            below.with_timeout(1.0, InnerError()),
            below.with_timeout(-100.0, InnerError()),
            below.with_deadline(2.0, InnerError()),
        ):
            assert isinstance(born.err(), DeadlineExceeded)
            assert isinstance(born.cause(), OuterError)


def test_without_cancel_drops_what_is_above() -> None:
    with VirtualClock() as clock:
        with background().with_timeout(5.0) as outer:
            detached = outer.without_cancel()
            assert detached.deadline is None
            with detached.with_timeout(8.0) as inner:
                assert inner.deadline == 8.0
                clock.advance(6.0)
                assert outer.done()
                assert not detached.done()
                assert not inner.done()


# -- lazy and eager agree ------------------------------------------------------


@dataclass
class Run:
    """One run of a program over a growing tree, hooked up or left alone."""

    hooked: bool
    clock: VirtualClock
    made: list[Context] = field(default_factory=lambda: [background()])
    causes: int = 0

    def cause(self) -> Exception:
        self.causes += 1
        return OuterError(self.causes)

    def step(self, kind: str, which: int, number: int) -> None:
        ctx = self.made[which % len(self.made)]
        if kind == "cancel":
            if isinstance(ctx, Scope):
                ctx.cancel(self.cause() if number % 2 else None)
        elif kind == "leave":
            if isinstance(ctx, Scope) and ctx in self.entered:
                self.entered.remove(ctx)
                ctx.__exit__(None, None, None)
        elif kind == "advance":
            self.clock.advance(number / 2)
        else:
            self.derive(kind, ctx, number)

    entered: list[Scope] = field(default_factory=list)

    def derive(self, kind: str, ctx: Context, number: int) -> None:
        if kind == "value":
            new: Context = ctx.with_value(Key("k"), number)
        elif kind == "detach":
            new = ctx.without_cancel()
        elif kind == "timeout":
            new = ctx.with_timeout(number, self.cause())
        else:
            new = ctx.with_cancel()
            if kind == "enter" and not new.done():
                assert isinstance(new, Scope)
                new.__enter__()
                self.entered.append(new)
        self.made.append(new)
        if self.hooked:
            new.done_signal().add_callback(int)

    def outcome(self) -> list[tuple[str, str, float | None]]:
        for scope in reversed(self.entered):
            scope.__exit__(None, None, None)
        self.entered.clear()
        seen = [(repr(ctx.err()), repr(ctx.cause()), ctx.deadline) for ctx in self.made]
        for ctx in self.made:
            if isinstance(ctx, Scope):
                ctx.cancel()
        return seen


KINDS = [
    "cancel",
    "leave",
    "advance",
    "timeout",
    "timeout",
    "derive",
    "enter",
    "value",
    "detach",
]
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 30), st.integers(0, 9))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_a_tree_that_is_listened_to_ends_like_one_that_is_not(
    steps: list[tuple[str, int, int]],
) -> None:
    def outcome(hooked: bool) -> list[tuple[str, str, float | None]]:
        with VirtualClock() as clock:
            run = Run(hooked, clock)
            for step in steps:
                run.step(*step)
            return run.outcome()

    # Left in any order, scopes may stay in the variable of what is current.
    lazy, eager = (copy_context().run(outcome, hooked) for hooked in (False, True))
    assert lazy == eager
