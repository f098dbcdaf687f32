"""User-made contexts that do it wrong, or at the worst moment."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.core.support import LONG, Own, Root
from tether import Canceled, Context, Key, Signal
from tether.testing import VirtualClock

KEY: Key[int] = Key("key")


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


def test_a_signal_without_an_error_is_a_cancel() -> None:
    own = Own()
    below: list[Context] = [own.with_cancel(), own.with_timeout(60.0)]
    own.end(None)
    below.append(own.with_cancel())
    for ctx in below:
        assert isinstance(ctx.err(), Canceled)
        assert isinstance(ctx.cause(), Canceled)
    with pytest.raises(Canceled):
        own.check()


@pytest.mark.parametrize("name", ["err", "cause", "value", "done_signal", "deadline"])
def test_one_whose_method_raises_tells_who_derives_and_leaves_nothing(
    name: str,
) -> None:
    class HostileError(Exception):
        pass

    def hostile(*_: object) -> Any:
        raise HostileError

    armed = type("Armed", (Own,), {name: hostile})
    if name == "deadline":
        armed = type("Armed", (Own,), {name: property(hostile)})
    own = armed()
    own.signal.set()
    for derive in (
        own.with_cancel,
        lambda: own.with_timeout(60.0),
        lambda: own.with_value(KEY, 1).with_cancel(),
    ):
        try:
            ctx = derive()
        except HostileError:
            continue
        assert ctx.done()
    gc.collect()


@pytest.mark.parametrize("name", ["err", "cause", "value"])
def test_one_that_cannot_say_how_it_ended_has_ended_all_the_same(name: str) -> None:
    def hostile(*_: object) -> Any:
        raise ValueError("hostile")

    own = Own()
    children = [own.with_cancel() for _ in range(2)]
    told = threading.Event()
    children[0].with_cancel().after_func(told.set)
    setattr(own, name, hostile)
    try:
        own.end(KeyError())
    except ValueError:
        pass
    assert all(child.done() for child in children)
    assert told.wait(LONG)
    for child in children:
        assert child.err() is not None


def test_one_whose_registration_raises_leaves_nothing(clock: VirtualClock) -> None:
    class Refuses(Own):
        def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
            raise OSError("full")

    own = Refuses()
    for derive in (own.with_cancel, lambda: own.with_timeout(5.0)):
        with pytest.raises(OSError, match="full"):
            derive()
    gc.collect()
    clock.advance(10.0)
    with own.with_value(KEY, 1).with_cancel() as ctx:
        assert not ctx.done()


def test_one_whose_unregistering_raises_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    class Refuses(Own):
        def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
            def stop() -> bool:
                raise OSError("gone")

            return stop

    told = threading.Event()
    with Refuses().with_cancel() as scope:
        scope.after_func(told.set)
    assert told.wait(LONG)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_one_that_ends_while_it_is_derived_from(call: int) -> None:
    class Sudden(Own):
        asked = 0

        def done_signal(self) -> Signal:
            self.asked += 1
            if self.asked == call:
                self.end(KeyError())
            return self.signal

    own = Sudden()
    ctx = own.with_timeout(60.0)
    own.end(KeyError())
    assert isinstance(ctx.err(), KeyError)


def test_one_that_reports_before_its_registration_returns() -> None:
    class AtOnce(Own):
        def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
            self.end(KeyError())
            fn()
            return lambda: False

    ctx = AtOnce().with_timeout(60.0)
    assert isinstance(ctx.err(), KeyError)


def test_one_that_reports_twice_and_after_it_was_unregistered() -> None:
    class Deaf(Root):
        def after_func(self, fn: Callable[[], object]) -> Callable[[], bool]:
            self.registered.append(fn)
            return lambda: False

    root = Deaf()
    kept, left = root.with_cancel(), root.with_cancel()
    left.cancel(ValueError())
    reports = list(root.registered)
    root.end(KeyError())
    for report in reports:
        report()
    assert isinstance(kept.err(), KeyError)
    assert isinstance(left.cause(), ValueError)
