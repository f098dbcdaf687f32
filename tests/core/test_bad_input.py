"""Bad input: refused at the call with a message that helps, and the tree is unharmed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.core.support import Own, here
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Key,
    Scope,
    Signal,
    background,
)
from tether.testing import VirtualClock

KEY: Key[int] = Key("key")
NAN = float("nan")


@pytest.fixture(params=["scope", "value", "user-made"])
def parent(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A context that must be as good as new after the test."""
    scope = background().with_timeout(3600.0)
    own = Own()
    made = {"scope": scope, "value": scope.with_value(KEY, 1), "user-made": own}
    ctx = made[request.param]
    yield ctx
    gc.collect()  # a scope that nobody got would warn
    with ctx.with_timeout(60.0) as child:
        assert not child.done()
        assert child.after_func(print)()
    assert child.done()
    assert not ctx.done()
    below = ctx.with_cancel()
    scope.cancel()
    own.end(Canceled())
    assert below.done()


# -- numbers -------------------------------------------------------------------

THING = object()
NO_NUMBERS = [None, "1", b"1", [], 1j, THING, float]


def said(value: object) -> str:
    return "thing" if value is THING else repr(value)


TAKES_SECONDS: dict[str, Callable[[Any, Any], object]] = {
    "with_timeout": lambda ctx, value: ctx.with_timeout(value),
    "with_deadline": lambda ctx, value: ctx.with_deadline(value),
    "reserve of a timeout": lambda ctx, value: ctx.with_timeout(5.0, reserve=value),
    "reserve of a deadline": lambda ctx, value: ctx.with_deadline(1e9, reserve=value),
    "require": lambda ctx, value: ctx.require(value),
    "sleep": lambda ctx, value: ctx.sleep(value),
    "wait": lambda ctx, value: ctx.wait(value),
    "sleep_async": lambda ctx, value: ctx.sleep_async(value).send(None),
    "wait_async": lambda ctx, value: ctx.wait_async(value).send(None),
}
NONE_IS_FINE = {"wait", "wait_async"}
seconds = pytest.mark.parametrize("name", TAKES_SECONDS)


@seconds
def test_what_is_no_number_of_seconds(parent: Any, name: str) -> None:
    for value in NO_NUMBERS:
        if value is None and name in NONE_IS_FINE:
            continue
        with pytest.raises(TypeError, match="is a number of seconds, not"):
            TAKES_SECONDS[name](parent, value)


@seconds
def test_nan_is_no_time(parent: Any, name: str) -> None:
    with pytest.raises(ValueError, match="NaN"):
        TAKES_SECONDS[name](parent, NAN)


@seconds
def test_a_number_that_is_too_large_for_a_float(parent: Any, name: str) -> None:
    with pytest.raises((OverflowError, ValueError)):
        TAKES_SECONDS[name](parent, 10**400)


@pytest.mark.parametrize(
    "value", [3, True, Decimal("2.5"), Fraction(1, 2), 1e300, float("inf")], ids=said
)
def test_numbers_of_all_kinds_are_seconds(parent: Any, value: Any) -> None:
    with VirtualClock(), background().with_cancel() as live:
        with live.with_timeout(value) as timed:
            assert timed.remaining() == float(value)
            assert timed.deadline is None or type(timed.deadline) is float
        with live.with_deadline(value) as timed:
            assert timed.remaining() == float(value)
        assert live.wait(False) is False


@pytest.mark.parametrize("value", [0, -1.0, float("-inf"), -(10**9)], ids=said)
def test_times_that_have_passed_are_over_at_once(parent: Any, value: Any) -> None:
    for scope in (parent.with_timeout(value), parent.with_deadline(min(value, -1e9))):
        assert isinstance(scope.err(), DeadlineExceeded)
        assert scope.remaining() == 0.0
        assert "had passed when it was set" in scope.err().detail


# -- a context that is none ----------------------------------------------------


@pytest.mark.parametrize("nothing", [None, 1, "ctx", THING, Context], ids=said)
@pytest.mark.parametrize(
    "derive",
    [
        lambda ctx: Context.with_cancel(ctx),
        lambda ctx: Context.with_timeout(ctx, 1.0),
        lambda ctx: Context.with_timeout(ctx, NAN),
        lambda ctx: Context.with_deadline(ctx, 1.0),
        lambda ctx: Context.with_value(ctx, KEY, 1),
        lambda ctx: Context.with_value(ctx, None, 1),  # type: ignore[arg-type]
        lambda ctx: Context.without_cancel(ctx),
    ],
    ids=["cancel", "timeout", "timeout2", "deadline", "value", "value2", "without"],
)
def test_nothing_can_be_derived_from_what_is_no_context(
    derive: Callable[[Any], object], nothing: object
) -> None:
    with pytest.raises(TypeError, match="cannot create context from nil parent"):
        derive(nothing)


USES: dict[str, Callable[[Any], object]] = {
    "after_func": lambda ctx: Context.after_func(ctx, print),
    "cause": lambda ctx: Context.cause(ctx),
    "done": lambda ctx: Context.done(ctx),
    "check": lambda ctx: Context.check(ctx),
    "require": lambda ctx: Context.require(ctx, 1.0),
    "remaining": lambda ctx: Context.remaining(ctx),
    "wait": lambda ctx: Context.wait(ctx, 0.0),
    "sleep": lambda ctx: Context.sleep(ctx, 0.0),
    "fileno": lambda ctx: Context.fileno(ctx),
    "poll": lambda ctx: next(Context.poll(ctx, [1])),
    "interrupting": lambda ctx: Context.interrupting(ctx, print).__enter__(),
    "cancel": lambda ctx: Scope.cancel(ctx),
    "enter": lambda ctx: Scope.__enter__(ctx),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_can_be_asked_of_none(use: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        use(None)


# -- keys, causes, functions ---------------------------------------------------


@pytest.mark.parametrize("key", ["name", 1, THING, Key, [], 1.5], ids=said)
def test_a_key_that_is_none(parent: Any, key: object) -> None:
    with pytest.raises(TypeError, match=r"a context key is a tether\.Key, not "):
        parent.with_value(key, 1)


def test_a_nil_key(parent: Any) -> None:
    with pytest.raises(TypeError, match=r"^nil key$"):
        parent.with_value(None, 1)


@pytest.mark.parametrize("key", [None, "name", 1, [], THING], ids=said)
def test_asking_for_a_key_that_is_none_finds_nothing(parent: Any, key: Any) -> None:
    assert parent.value(key, "no") == "no"


@pytest.mark.parametrize("name", [None, 1, b"name", THING], ids=said)
def test_the_name_of_a_key_is_a_string(name: Any) -> None:
    with pytest.raises(TypeError, match="name of a Key is a string"):
        Key(name)


@pytest.mark.parametrize("seconds", [0.0, 5.0, 7200.0, float("inf")])
def test_a_cause_that_is_no_exception(parent: Any, seconds: float) -> None:
    scope = parent.with_cancel()
    for cause in ("why", 1, KeyError, THING):
        for take in (
            lambda cause=cause: parent.with_timeout(seconds, cause),
            lambda cause=cause: parent.with_deadline(seconds, cause),
            lambda cause=cause: scope.cancel(cause),
        ):
            with pytest.raises(TypeError, match="a cause is an exception or None, not"):
                take()
    assert not scope.done()
    scope.cancel()
    with pytest.raises(TypeError, match="a cause is an exception or None, not"):
        scope.cancel("why")


@pytest.mark.parametrize("fn", [None, "print", 1, THING], ids=said)
def test_a_function_that_cannot_be_called(parent: Any, fn: Any) -> None:
    for take in (
        parent.after_func,
        parent.interrupting,
        parent.done_signal().add_callback,
        Signal().add_callback,
    ):
        with pytest.raises(TypeError, match="takes a function to call, not"):
            take(fn)


@pytest.mark.parametrize("every", [0, -1])
def test_poll_every_so_many_is_at_least_one(parent: Any, every: int) -> None:
    with pytest.raises(ValueError, match="at least 1, not"):
        parent.poll([1], every=every)


@pytest.mark.parametrize("every", ["x", None, 1.5, NAN], ids=said)
def test_poll_every_so_many_is_a_whole_number(parent: Any, every: Any) -> None:
    with pytest.raises(TypeError, match="a whole number"):
        parent.poll([1], every=every)


def test_poll_of_what_has_no_items(parent: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        next(parent.poll(5))


# -- blocks --------------------------------------------------------------------


def test_a_scope_is_entered_once() -> None:
    made, scope = here(), background().with_cancel()
    with scope:
        with pytest.raises(RuntimeError) as caught:
            scope.__enter__()
        assert not scope.done()
    assert str(caught.value) == (
        "a scope is entered once; derive another with with_cancel() "
        f"({made} made this one)"
    )
    with pytest.raises(RuntimeError, match="entered once"), scope:
        raise AssertionError


@pytest.mark.parametrize("how", ["cancel", "deadline", "parent"])
def test_a_scope_that_is_over_is_not_entered(how: str) -> None:
    outer = background().with_cancel()
    scope = outer.with_timeout(0.0 if how == "deadline" else 60.0)
    if how == "cancel":
        scope.cancel()
    elif how == "parent":
        outer.cancel()
    with pytest.raises(DeadlineExceeded if how == "deadline" else Canceled):
        with scope:
            raise AssertionError
    with pytest.raises(RuntimeError, match="entered once"):
        scope.__enter__()
    outer.cancel()


def test_leaving_without_entering() -> None:
    scope = background().with_cancel()
    with pytest.raises(RuntimeError, match="never entered"):
        scope.__exit__(None, None, None)
    assert not scope.done()
    with scope:
        pass
    assert scope.done()


def test_leaving_twice_is_quiet() -> None:
    with background().with_cancel() as scope:
        scope.__exit__(None, None, None)
    scope.__exit__(None, None, None)
    scope.cancel(KeyError())
    assert type(scope.cause()) is Canceled


def test_a_scope_is_no_asynchronous_block(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as scope:
            with pytest.raises((TypeError, AttributeError)):
                async with scope:  # type: ignore[attr-defined]
                    raise AssertionError

    run(main)


def test_what_is_given_cannot_be_canceled_or_entered(parent: Any) -> None:
    ctx = parent.with_value(KEY, 1)
    with pytest.raises(AttributeError):
        ctx.cancel()
    with pytest.raises(TypeError), ctx:
        raise AssertionError


def test_a_context_cannot_be_changed() -> None:
    with background().with_timeout(60.0) as scope:
        for name in ("deadline", "label", "anything"):
            with pytest.raises(AttributeError):
                setattr(scope, name, 1)


def test_a_scope_is_derived_and_not_made_by_hand() -> None:
    make: Any = Scope
    for args in ((), (background(),)):
        with pytest.raises(TypeError):
            make(*args)


# -- the clock of tests --------------------------------------------------------


@pytest.mark.parametrize("value", [-1.0, -1e-9, NAN, float("-inf")])
def test_a_virtual_clock_moves_forward_only(value: float) -> None:
    with VirtualClock() as clock:
        clock.advance(1.0)
        with pytest.raises(ValueError, match="forward"):
            clock.advance(value)
        assert clock.now() == 1.0


@pytest.mark.parametrize("value", NO_NUMBERS, ids=said)
def test_a_virtual_clock_moves_by_seconds(value: Any) -> None:
    with VirtualClock() as clock:
        with pytest.raises(TypeError):
            clock.advance(value)
        clock.advance(1)
        assert clock.now() == 1.0


def test_one_virtual_clock_at_a_time() -> None:
    with VirtualClock() as clock:
        with pytest.raises(RuntimeError, match="one at a time"), VirtualClock():
            raise AssertionError
        with pytest.raises(RuntimeError, match="once"):
            clock.__enter__()
        clock.advance(1.0)
        with background().with_timeout(1.0) as ctx:
            clock.advance(1.0)
            assert ctx.done()
    with pytest.raises(RuntimeError, match="once"), clock:
        raise AssertionError


def test_awaiting_a_virtual_clock_checks_its_argument_too(run: Run) -> None:
    async def main() -> None:
        with VirtualClock() as clock:
            with pytest.raises(ValueError, match="forward"):
                await clock.advance_async(-1.0)
            await asyncio.sleep(0)
            assert clock.now() == 0.0

    run(main)
