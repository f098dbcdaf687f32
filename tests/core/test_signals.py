"""with_signals: a context that ends with a signal, in a program's own loop or thread."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from typing import Any

import pytest

from tests.core.children import child
from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, Context, background, current
from tether.signals import Signaled, with_signals

TERM, INT = signal.SIGTERM, signal.SIGINT


def test_the_scope_is_canceled_by_the_first_signal() -> None:
    before = signal.getsignal(TERM), signal.getsignal(INT)
    with with_signals(background()) as scope:
        assert current() is scope
        assert not scope.done()
        signal.raise_signal(INT)
        cause = scope.cause()
        assert isinstance(cause, Signaled)
        assert (cause.signum, cause.name, str(cause)) == (
            INT,
            "SIGINT",
            "SIGINT received",
        )
        signal.raise_signal(TERM)
        assert scope.cause() is cause
        error = scope.err()
        assert isinstance(error, Canceled)
        assert "test_signals.py" in error.detail
    assert (signal.getsignal(TERM), signal.getsignal(INT)) == before


def test_the_cause_pickles() -> None:
    cause = pickle.loads(pickle.dumps(Signaled(TERM)))
    assert (cause.signum, str(cause)) == (TERM, "SIGTERM received")
    assert str(Signaled(40)) == "signal 40 received"


def test_a_wait_of_a_thread_ends() -> None:
    with with_signals(background(), TERM) as scope:
        waiting = start(scope.wait, LONG)
        signal.raise_signal(TERM)
        assert waiting.result(LONG) is True
        with pytest.raises(Canceled):
            scope.check()


def test_it_is_left_with_the_handlers_back_whatever_happens() -> None:
    before = signal.getsignal(TERM)
    with pytest.raises(KeyError), with_signals(background(), TERM):
        raise KeyError
    assert signal.getsignal(TERM) is before
    over = background().with_cancel()
    over.cancel()
    with pytest.raises(Canceled), with_signals(over, TERM):
        raise AssertionError
    assert signal.getsignal(TERM) is before


def test_it_ends_with_the_context_above_like_any_scope() -> None:
    with background().with_cancel() as outer:
        with with_signals(outer, TERM) as scope:
            outer.cancel()
            assert scope.done()
            assert not isinstance(scope.cause(), Signaled)


def test_a_task_is_interrupted(run: Run) -> None:
    async def main() -> None:
        before = signal.getsignal(TERM)
        loop = asyncio.get_running_loop()
        with pytest.raises(Canceled) as caught:
            with with_signals(background(), TERM):
                loop.call_soon(signal.raise_signal, TERM)
                await asyncio.sleep(LONG)
        assert isinstance(caught.value.__cause__, Signaled)
        assert signal.getsignal(TERM) is before

    run(main)


def test_a_loop_in_another_thread_is_told(run: Run) -> None:
    inside = threading.Event()

    async def main(ctx: Context) -> str:
        inside.set()
        await ctx.wait_async()
        return str(ctx.cause())

    with with_signals(background(), TERM) as scope:
        running = start(run, main, scope)
        assert inside.wait(LONG)
        signal.raise_signal(TERM)
        assert running.result(LONG) == "SIGTERM received"


# -- who else listens ------------------------------------------------------------------


def test_a_handler_that_was_there_is_called_too() -> None:
    seen: list[int] = []

    def server(signum: int, frame: object) -> None:
        seen.append(signum)

    before = signal.signal(TERM, server)
    try:
        with with_signals(background(), TERM) as outer:
            with with_signals(background(), TERM) as inner:
                signal.raise_signal(TERM)
                assert inner.done()
                assert outer.done()
        assert seen == [TERM]
        assert signal.getsignal(TERM) is server
    finally:
        signal.signal(TERM, before)


def test_the_defaults_for_sigint_are_not_called(run: Run) -> None:
    """Neither KeyboardInterrupt nor the cancel of asyncio.run comes."""
    before = signal.signal(INT, signal.default_int_handler)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with with_signals(background(), INT) as scope:
            with scope.without_cancel().with_cancel():
                signal.raise_signal(INT)
                await asyncio.sleep(0.001)
        assert scope.done()
        assert task.cancelling() == 0

    try:
        with with_signals(background(), INT) as scope:
            signal.raise_signal(INT)
        assert scope.done()
        run(main)
    finally:
        signal.signal(INT, before)


@pytest.mark.skipif(os.name == "nt", reason="Windows loops have no signal handlers")
def test_a_handler_of_the_loop_that_was_there_goes_on(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(TERM, told.set)
        with with_signals(background(), TERM) as scope:
            with scope.without_cancel().with_cancel():
                signal.raise_signal(TERM)
                await asyncio.wait_for(told.wait(), LONG)
            assert scope.done()
        told.clear()
        signal.raise_signal(TERM)
        await asyncio.wait_for(told.wait(), LONG)
        assert loop.remove_signal_handler(TERM)

    run(main)


def test_a_handler_that_is_set_inside_stays() -> None:
    def mine(signum: int, frame: object) -> None: ...

    before = signal.getsignal(TERM)
    try:
        with with_signals(background(), TERM) as scope:
            signal.signal(TERM, mine)
            signal.raise_signal(TERM)
            assert not scope.done()
        assert signal.getsignal(TERM) is mine
    finally:
        signal.signal(TERM, before)


@pytest.mark.skipif(os.name == "nt", reason="needs signals between processes")
def test_after_the_block_the_signal_does_what_it_did() -> None:
    source = """
    from tether.signals import with_signals
    with with_signals(background(), signal.SIGTERM) as ctx:
        say("ready")
        ctx.wait()
        say(ctx.cause())
    signal.raise_signal(signal.SIGTERM)
    say("never reached")
    """
    with child(source) as program:
        assert program.line() == "ready"
        program.send(TERM)
        assert program.end() == (-TERM, ["SIGTERM received"], "")


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kind", "text"),
    [
        ((None,), TypeError, "takes a context, not None"),
        ((TERM,), TypeError, "takes a context"),
        ((background(), "SIGTERM"), TypeError, "not a signal"),
        ((background(), [TERM]), TypeError, "not a signal"),
        ((background(), 0), ValueError, "not a signal"),
        ((background(), TERM, 4711), ValueError, "not a signal"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    args: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    before = signal.getsignal(TERM)
    with pytest.raises(kind, match=text):
        with_signals(*args)
    assert signal.getsignal(TERM) is before


def test_it_is_entered_once() -> None:
    block = with_signals(background(), TERM)
    before = signal.getsignal(TERM)
    with block, pytest.raises(RuntimeError, match="entered once"), block:
        raise AssertionError
    with pytest.raises(RuntimeError, match="entered once"), block:
        raise AssertionError
    assert signal.getsignal(TERM) is before


def test_in_another_thread_it_says_what_to_do() -> None:
    def body() -> None:
        with pytest.raises(RuntimeError, match="reach the main thread only"):
            with with_signals(background(), TERM):
                raise AssertionError

    start(body).result(LONG)
