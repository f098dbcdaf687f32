"""The tree: what is kept alive, who hears of which end, what the roots are."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from tests.core.support import LONG, here, start
from tether import Context, Key, Scope, background, todo
from tether.testing import VirtualClock

NUMBER: Key[int] = Key("number")


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes, goes by its count of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# -- who keeps whom ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_context_that_nobody_waits_on_is_not_kept_by_its_parent(
    no_collector: None,
) -> None:
    with background().with_timeout(60.0) as parent:
        child = parent.with_timeout(1.0)
        assert not child.done()
        gone = weakref.ref(child)
        del child
        assert gone() is None


def test_a_canceled_child_is_forgotten_by_its_parent(no_collector: None) -> None:
    with background().with_timeout(60.0) as parent:
        gone = []
        for _ in range(100):
            with parent.with_timeout(1.0) as child:
                child.after_func(int)
                child.with_cancel().after_func(int)
            gone.append(weakref.ref(child))
        del child
        # A function that is about to run may hold the last for a moment.
        await_gone(gone)


def await_gone(refs: list[weakref.ref[Scope]]) -> None:
    done = threading.Event()
    with background().with_cancel() as last:
        last.after_func(done.set)
    assert done.wait(LONG)
    assert [ref for ref in refs if ref() is not None] == []


def test_a_stopped_function_is_forgotten(no_collector: None) -> None:
    class Big:
        def __call__(self) -> None:
            raise AssertionError

    with background().with_timeout(60.0) as ctx:
        big = Big()
        gone = weakref.ref(big)
        stop = ctx.after_func(big)
        del big
        assert stop()
        del stop
        assert gone() is None


def test_after_the_end_the_callbacks_of_a_signal_are_forgotten(
    no_collector: None,
) -> None:
    class Big:
        def __call__(self) -> None:
            pass

    scope = background().with_timeout(3600.0)
    big = Big()
    gone = weakref.ref(big)
    scope.done_signal().add_callback(big)
    del big
    scope.cancel()
    assert gone() is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_wait_that_ends_early_leaves_nothing_behind(no_collector: None) -> None:
    with VirtualClock() as clock:
        with background().with_cancel() as parent:
            child = parent.with_timeout(60.0)
            waiting = start(child.wait, 1.0)
            clock.advance(1.0)
            assert waiting.result(LONG) is False
            gone = weakref.ref(child)
            clock.settle()  # the thread lets go of it
            del child, waiting
            assert gone() is None


def test_a_scope_that_is_never_canceled_says_where_it_was_made() -> None:
    made, scope = here(), background().with_cancel()
    with pytest.warns(ResourceWarning) as caught:
        del scope
    assert str(caught[0].message) == (
        f"the scope made at {made} was never canceled; use it in a with block"
    )


@pytest.mark.parametrize("how", ["left", "canceled", "parent", "late"])
@pytest.mark.parametrize("depth", [0, 1, 100])
def test_a_scope_that_is_over_is_dropped_quietly(how: str, depth: int) -> None:
    with VirtualClock() as clock, background().with_cancel() as parent:
        above: Context = parent
        for _ in range(depth):
            above = above.with_cancel()
        scope = above.with_timeout(1.0)
        if how == "left":
            with scope:
                pass
        elif how == "canceled":
            scope.cancel()
        elif how == "parent":
            parent.cancel()
        else:
            clock.advance(1.0)
        del scope
        gc.collect()
        parent.cancel()
        del above
        gc.collect()


# -- the rest ------------------------------------------------------------------


def test_the_roots_are_always_the_same_and_never_over() -> None:
    assert background() is background()
    assert todo() is todo()
    assert background() is not todo()
    for root in (background(), todo()):
        assert not root.done()
        assert root.remaining() == float("inf")
        assert root.wait(0.0) is False
        root.check()


def test_repr_names_the_type_and_the_text() -> None:
    with background().with_cancel() as scope:
        assert repr(scope) == "<Scope context.Background.WithCancel>"


def test_the_signal_of_a_context_follows_it_and_cannot_be_set() -> None:
    scope = background().with_cancel()
    child = scope.with_value(NUMBER, 1)
    signal = child.done_signal()
    assert signal == scope.done_signal()
    assert hash(signal) == hash(scope.done_signal())
    with pytest.raises(RuntimeError, match="cancel the scope instead"):
        signal.set()
    assert not signal.is_set()
    told: list[str] = []
    remove = signal.add_callback(lambda: told.append("removed"))
    signal.add_callback(lambda: told.append("told"))
    assert remove() is True
    scope.cancel()
    assert signal.is_set()
    assert told == ["told"]
    signal.add_callback(lambda: told.append("at once"))
    assert told == ["told", "at once"]


@pytest.mark.parametrize("where", ["cancel", "deadline", "look"])
def test_a_callback_that_raises_harms_no_other(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: heard.append(args))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: heard.append(args))
    with VirtualClock() as clock:
        scope = background().with_timeout(1.0)
        child = scope.with_cancel()
        waiting = start(child.wait)
        clock.settle()

        def fail() -> None:
            raise ZeroDivisionError

        told = threading.Event()
        scope.done_signal().add_callback(fail)
        child.done_signal().add_callback(fail)
        child.after_func(told.set)
        if where == "cancel":
            scope.cancel()
        elif where == "deadline":
            clock.advance(1.0)
        else:
            scope.cancel()
            assert child.err() is not None
        assert told.wait(LONG)
        assert waiting.result(LONG) is True
        with background().with_timeout(1.0) as later:
            waiting = start(later.wait)
            clock.advance(1.0)
            assert waiting.result(LONG) is True
    assert len(heard) == 2


def test_a_callback_that_raises_where_the_hook_for_errors_fails_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hook(_: object) -> None:
        raise KeyError("the hook")

    monkeypatch.setattr(threading, "excepthook", hook)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    scope = background().with_cancel()
    told: list[None] = []
    scope.done_signal().add_callback(lambda: 1 // 0)
    scope.done_signal().add_callback(lambda: told.append(None))
    scope.cancel()
    assert told == [None]
    capsys.readouterr()


def test_cancel_from_a_finalizer_and_a_weakref_callback() -> None:
    class Owner:
        def __init__(self, scope: Scope) -> None:
            self.scope = scope

        def __del__(self) -> None:
            self.scope.cancel()

    for make in (Owner, None):
        root = background().with_cancel()
        told = threading.Event()
        root.with_cancel().after_func(told.set)
        thing: object
        ref: weakref.ref[object]
        if make is None:
            thing = threading.Event()
            ref = weakref.ref(thing, lambda _, scope=root: scope.cancel())
        else:
            thing = make(root)
            ref = weakref.ref(thing)
        del thing
        gc.collect()
        assert ref() is None
        assert root.done()
        assert told.wait(LONG)


@pytest.mark.parametrize("derive", [Context.with_cancel, Context.without_cancel])
def test_deriving_while_the_parent_is_canceled_elsewhere(
    derive: Callable[[Context], Context], switching: None
) -> None:
    for _ in range(200):
        parent = background().with_cancel()
        told = threading.Event()
        go = threading.Barrier(2)

        def cancel(scope: Scope = parent, go: threading.Barrier = go) -> None:
            go.wait(LONG)
            scope.cancel()

        canceling = start(cancel)
        go.wait(LONG)
        child = derive(parent)
        stop = child.after_func(told.set)
        canceling.result(LONG)
        if derive is Context.with_cancel:
            assert told.wait(LONG)
            assert child.done()
        else:
            assert stop()
            assert not child.done()
