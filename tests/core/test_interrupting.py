"""interrupting, in a thread: the call of another library returns when the context ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.core.support import LONG, Own, Wrapper, start
from tether import Canceled, Context, ContextError, DeadlineExceeded, background
from tether.testing import VirtualClock


class DriverError(Exception):
    pass


class Connection:
    """A blocking client: `execute` returns when `cancel` is called, with an error."""

    def __init__(self) -> None:
        self.canceled = threading.Event()
        self.calls = 0

    def cancel(self) -> None:
        self.calls += 1
        self.canceled.set()

    def execute(self) -> None:
        assert self.canceled.wait(LONG)
        raise DriverError("canceling statement")


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


def query(ctx: Context, conn: Connection) -> None:
    with ctx.interrupting(conn.cancel):
        conn.execute()


@pytest.mark.parametrize("kind", ["cancel", "deadline", "wrapper", "own"])
def test_the_blocking_call_returns_and_the_contexts_error_is_raised(
    clock: VirtualClock, kind: str
) -> None:
    scope = background().with_timeout(5.0)
    own = Own()
    ctx = {"wrapper": Wrapper(scope), "own": own}.get(kind, scope)
    conn = Connection()
    working = start(query, ctx, conn)
    clock.settle()
    assert not working.done()
    if kind == "deadline":
        clock.advance(5.0)
    elif kind == "own":
        own.end(Canceled())
    else:
        scope.cancel()
    error = working.exception(LONG)
    assert isinstance(error, DeadlineExceeded if kind == "deadline" else Canceled)
    assert isinstance(error.__cause__, DriverError)
    assert conn.calls == 1
    scope.cancel()


def test_a_live_context_leaves_the_call_alone() -> None:
    conn = Connection()
    with background().with_cancel() as ctx:
        with ctx.interrupting(conn.cancel):
            pass
        with pytest.raises(DriverError):
            with ctx.interrupting(conn.cancel):
                raise DriverError
    assert conn.calls == 0


def test_entering_under_a_done_context_raises_and_calls_nothing() -> None:
    scope = background().with_cancel()
    scope.cancel()
    conn = Connection()
    with pytest.raises(Canceled):
        with scope.interrupting(conn.cancel):
            raise AssertionError
    assert conn.calls == 0


def test_a_result_that_came_after_the_function_ran_is_no_result() -> None:
    scope = background().with_cancel()
    ran = threading.Event()
    with pytest.raises(Canceled) as caught:
        with scope.interrupting(ran.set):
            scope.cancel()
            assert ran.wait(LONG)
    assert caught.value.__cause__ is None


def test_a_context_error_and_a_base_exception_pass_as_they_are() -> None:
    for error in (Canceled(), KeyboardInterrupt(), SystemExit()):
        scope = background().with_cancel()
        ran = threading.Event()
        with pytest.raises(type(error)) as caught:
            with scope.interrupting(ran.set):
                scope.cancel()
                assert ran.wait(LONG)
                raise error
        assert caught.value is error


def test_leaving_waits_for_a_function_that_runs() -> None:
    scope = background().with_cancel()
    running, release = threading.Event(), threading.Event()
    done: list[None] = []

    def slow() -> None:
        running.set()
        assert release.wait(LONG)
        done.append(None)

    def body() -> int:
        try:
            with scope.interrupting(slow):
                scope.cancel()
                assert running.wait(LONG)
                leaving.set()
        except Canceled:
            return len(done)
        raise AssertionError

    leaving = threading.Event()
    working = start(body)
    assert leaving.wait(LONG)
    assert not working.done()
    release.set()
    assert working.result(LONG) == 1


def test_a_function_that_raises_still_lets_the_block_be_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: heard.set())
    scope = background().with_cancel()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(Canceled):
        with scope.interrupting(fail):
            scope.cancel()
            assert heard.wait(LONG)


def test_one_block_inside_another_with_the_same_context() -> None:
    scope = background().with_cancel()
    outer, inner = Connection(), Connection()
    with pytest.raises(Canceled) as caught:
        with scope.interrupting(outer.cancel):
            with scope.interrupting(inner.cancel):
                scope.cancel()
                inner.execute()
    assert isinstance(caught.value.__cause__, DriverError)
    assert (outer.calls, inner.calls) == (1, 1)


def test_the_scope_may_be_left_by_what_the_function_causes() -> None:
    conn = Connection()
    scope = background().with_cancel()
    with pytest.raises(Canceled) as caught:
        with scope, scope.interrupting(conn.cancel):
            start(scope.cancel)
            conn.execute()
    assert caught.value.ctx is scope


@pytest.mark.stress
@pytest.mark.parametrize("ender", ["cancel", "deadline"])
def test_no_late_call_hits_the_next_statement(ender: str, switching: None) -> None:
    class Shared:
        """One connection, on which statement follows statement."""

        def __init__(self) -> None:
            self.statement = 0
            self.hit: list[int] = []

        def cancel(self) -> None:
            for _ in range(500):  # on its way to the server
                pass
            self.hit.append(self.statement)

    shared = Shared()
    ended = 0
    for turn in range(2000):
        seconds = (turn % 10) * 0.00002 if ender == "deadline" else 60.0
        scope = background().with_timeout(seconds)
        canceling = start(scope.cancel) if ender == "cancel" else None
        shared.statement = turn
        before = len(shared.hit)
        try:
            with scope.interrupting(shared.cancel):
                for _ in range(turn % 50):
                    pass
        except ContextError:
            ended += 1
            # Either it was over before the call began, or the function ran in time.
            assert len(shared.hit) - before <= 1
        else:
            assert len(shared.hit) == before
        shared.statement = -1
        if canceling is not None:
            canceling.result(LONG)
        scope.cancel()
    assert -1 not in shared.hit
    assert len(shared.hit) == len(set(shared.hit))
    assert ended > 0
