"""Long chains and many children: nothing recurses, nothing takes the square."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.core.support import LONG
from tether import Canceled, Context, DeadlineExceeded, Key, background
from tether.testing import VirtualClock

LINKS = 100_000
NUMBER: Key[int] = Key("number")


def long(test: Callable[..., None]) -> Callable[..., None]:
    """Fail in time, and without a warning for every link."""
    pytest.mark.filterwarnings("ignore::ResourceWarning")(test)
    pytest.mark.timeout(60)(test)
    return test


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes, goes by its count of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def grow(ctx: Context, links: int = LINKS) -> Context:
    for number in range(links):
        ctx = ctx.with_value(NUMBER, number) if number % 100 == 0 else ctx.with_cancel()
    return ctx


@long
def test_a_long_chain_is_asked() -> None:
    with VirtualClock() as clock:
        with background().with_timeout(5.0) as root:
            last = grow(root)
            assert not last.done()
            assert last.deadline == 5.0
            assert last.remaining() == 5.0
            assert last.value(NUMBER) == LINKS - 100
            assert last.value(Key("missing"), "no") == "no"
            clock.advance(5.0)
            assert isinstance(last.err(), DeadlineExceeded)
            assert isinstance(last.cause(), DeadlineExceeded)


@long
def test_a_long_chain_is_printed() -> None:
    with background().with_cancel() as root:
        last = grow(root)
        text = str(last)
    start_of = "context.Background.WithCancel.WithValue(number, int).WithCancel"
    assert text[: len(start_of)] == start_of
    canceling = text.count(".WithCancel")
    assert canceling == LINKS - LINKS // 100 + 1


@long
def test_a_long_chain_that_nobody_waits_on_is_canceled_and_told() -> None:
    root = background().with_cancel()
    last = grow(root)
    root.cancel(KeyError("why"))
    error = last.err()
    assert isinstance(error, Canceled)
    assert error.ctx is root
    assert "KeyError: 'why'" in error.detail
    with pytest.raises(Canceled):
        last.check()


@long
def test_a_long_chain_that_is_waited_on_is_canceled() -> None:
    root = background().with_cancel()
    last = grow(root)
    told = threading.Event()
    last.after_func(told.set)
    root.cancel()
    assert told.wait(LONG)


@long
def test_a_long_chain_is_unhooked_by_the_last_to_leave(no_collector: None) -> None:
    with background().with_cancel() as root:
        last = grow(root)
        assert last.after_func(print)()
        gone = weakref.ref(last)
        del last
        assert gone() is None


@long
def test_a_long_canceled_chain_is_dropped(no_collector: None) -> None:
    root = background().with_cancel()
    middle = grow(root, LINKS // 2)
    gone = weakref.ref(middle)
    last = grow(middle, LINKS // 2)
    root.cancel()
    del middle
    assert gone() is not None
    del last
    assert gone() is None


@long
def test_a_long_live_chain_is_dropped(no_collector: None) -> None:
    with background().with_cancel() as root:
        middle = grow(root, LINKS // 2)
        gone = weakref.ref(middle)
        last = grow(middle, LINKS // 2)
        del middle
        del last
        assert gone() is None


@long
def test_many_children_are_canceled_at_once() -> None:
    root = background().with_cancel()
    children = [root.with_cancel() for _ in range(LINKS // 10)]
    told: list[None] = []
    for child in children:
        child.done_signal().add_callback(lambda: told.append(None))
    root.cancel()
    assert len(told) == len(children)
    assert all(child.done() for child in children)


@pytest.mark.timeout(60)
def test_children_that_end_in_the_order_they_came() -> None:
    with background().with_cancel() as root:
        children = [root.with_cancel() for _ in range(LINKS)]
        for child in children:
            child.done_signal().add_callback(int)
        removes = [root.done_signal().add_callback(int) for _ in range(LINKS)]
        begin = time.perf_counter()
        for number, child in enumerate(children):
            child.cancel()
            assert removes[number]()
            if number % 1000 == 0:  # would take minutes
                assert time.perf_counter() - begin < LONG
        assert not root.done()
