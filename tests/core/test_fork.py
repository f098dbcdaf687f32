"""In a forked child everything works as in a process of its own."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator

import pytest

from tests.loops import Run
from tether import (
    Canceled,
    DeadlineExceeded,
    Queue,
    Scope,
    Semaphore,
    background,
    current,
)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="processes cannot fork here"
)

LIMIT = 10  # seconds after which a child that hangs is killed
LONG = 20.0


def in_child(body: Callable[[], object]) -> None:
    """Run it in a forked child; what it raises there is an error here."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of what this is all about: a fork with threads around.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)
            body()
            status = 0
        except BaseException:
            os.write(write, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(status)  # none of what pytest would do at the end
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise AssertionError("the child hung")
    assert status == 0, said


@pytest.fixture(autouse=True)
def warm() -> Iterator[None]:
    """The threads of the library run before the fork, and after it."""
    told, late = threading.Event(), threading.Event()
    scope, timed = background().with_cancel(), background().with_timeout(1e-3)
    scope.after_func(told.set)
    timed.after_func(late.set)
    scope.cancel()
    assert told.wait(LONG)
    assert late.wait(LONG)
    yield
    ends_and_is_told(background().with_cancel())


def ends_and_is_told(scope: Scope) -> None:
    told = threading.Event()
    stop = scope.after_func(told.set)
    scope.cancel()
    assert told.wait(LONG)
    assert not stop()


def test_scopes_made_before_and_after() -> None:
    before = background().with_timeout(LONG)
    inner = before.with_cancel()

    def child() -> None:
        with before, inner.with_timeout(LONG) as scope:
            assert current() is scope
            ends_and_is_told(scope)
            assert not inner.done()
        assert isinstance(inner.err(), Canceled)
        ends_and_is_told(background().with_timeout(LONG))

    in_child(child)
    assert not before.done()
    with before:
        ends_and_is_told(inner)


def test_functions_that_wait_are_told_in_both() -> None:
    """Each process has its own; what happens in one is nothing to the other."""
    scope = background().with_cancel()
    told = threading.Event()
    stop = scope.with_cancel().after_func(told.set)

    def child() -> None:
        scope.cancel()
        assert told.wait(LONG)
        assert not stop()

    in_child(child)
    assert not told.is_set()
    scope.cancel()
    assert told.wait(LONG)


def test_stop_before_and_after() -> None:
    scope = background().with_timeout(LONG)
    stop, other = scope.after_func(dict), scope.after_func(dict)
    assert stop()

    def child() -> None:
        assert not stop()
        assert other()
        scope.cancel()

    in_child(child)
    assert other()
    scope.cancel()


def test_timers_that_were_set_before_go_off_in_both() -> None:
    late = threading.Event()
    scope = background().with_timeout(0.05)
    scope.after_func(late.set)
    far = background().with_timeout(LONG)
    stop = far.after_func(dict)

    def child() -> None:
        assert late.wait(LONG)
        assert isinstance(scope.err(), DeadlineExceeded)
        soon = threading.Event()
        with background().with_timeout(0.01) as new:
            new.after_func(soon.set)
            assert soon.wait(LONG)
        assert stop()

    in_child(child)
    assert late.wait(LONG)
    assert stop()
    far.cancel()


def test_waits() -> None:
    scope = background().with_cancel()

    def child() -> None:
        threading.Timer(0.01, scope.cancel).start()
        assert scope.wait(LONG)
        with background().with_timeout(0.01) as timed:
            assert timed.wait(LONG)
            with pytest.raises(DeadlineExceeded):
                timed.sleep(LONG)

    woken = threading.Event()
    waiter = threading.Thread(target=lambda: scope.wait(LONG) and woken.set())
    waiter.start()
    in_child(child)
    assert not woken.is_set()
    scope.cancel()
    waiter.join(LONG)
    assert woken.is_set()


def test_a_block_that_is_open_during_the_fork() -> None:
    told: list[str] = []
    with background().with_timeout(LONG) as scope:
        with scope.interrupting(lambda: told.append("closed")):

            def child() -> None:
                assert current() is scope
                scope.cancel()
                with pytest.raises(Canceled):
                    scope.check()
                assert scope.wait(LONG)

            in_child(child)
        assert not scope.done()
    assert told == []


def test_a_descriptor_is_that_of_the_child_as_well() -> None:
    """One asked for before the fork may be shared: ask for it where it is used."""
    scope = background().with_cancel()

    def child() -> None:
        mine = scope.with_cancel()
        assert not select.select([mine], [], [], 0)[0]
        scope.cancel()
        assert select.select([mine], [], [], LONG)[0]

    in_child(child)
    mine = scope.with_cancel()
    assert not select.select([mine], [], [], 0)[0]
    scope.cancel()
    assert select.select([mine], [], [], 0)[0]


def test_a_new_loop_in_the_child(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(Canceled):
            with background().with_timeout(LONG) as scope:
                asyncio.get_running_loop().call_later(1e-3, scope.cancel)
                async with scope.interrupting(dict):
                    await scope.sleep_async(LONG)
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(1e-3):
                await asyncio.sleep(LONG)

    run(main)
    in_child(lambda: run(main))
    run(main)


def test_a_fork_in_a_fork() -> None:
    def child() -> None:
        ends_and_is_told(background().with_timeout(LONG))
        in_child(lambda: ends_and_is_told(background().with_timeout(LONG)))
        ends_and_is_told(background().with_timeout(LONG))

    in_child(child)


@pytest.mark.usefixtures("switching")
def test_a_fork_while_other_threads_are_in_the_middle_of_it() -> None:
    """Whatever they are at, the child finds no lock held and no half-made tree."""
    over = threading.Event()
    root = background().with_cancel()
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            while not over.is_set():
                scope = root.with_timeout(LONG)
                child = scope.with_cancel()
                stop = child.after_func(dict)
                child.after_func(dict)
                child.wait(1e-6)
                stop()
                scope.cancel()
        except BaseException as exc:
            failures.append(exc)

    def child() -> None:
        ends_and_is_told(root.with_timeout(LONG))
        soon = threading.Event()
        root.with_timeout(1e-3).after_func(soon.set)
        assert soon.wait(LONG)
        late = threading.Event()
        root.after_func(late.set)
        root.cancel()
        assert late.wait(LONG)
        assert background().with_timeout(1e-3).wait(LONG)

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 3.0
        for _ in range(200):
            in_child(child)
            if time.monotonic() > until:
                break
    finally:
        over.set()
        for thread in threads:
            thread.join(LONG)
    assert not failures
    assert not root.done()
    ends_and_is_told(root)


def test_a_fork_inside_a_callback() -> None:
    """In the child the thread of the pool that forked is the only one."""
    outcome: list[BaseException | None] = []
    forked = threading.Event()

    def fork() -> None:
        try:
            in_child(lambda: ends_and_is_told(background().with_timeout(LONG)))
            outcome.append(None)
        except BaseException as exc:
            outcome.append(exc)
        forked.set()

    with background().with_cancel() as scope:
        scope.after_func(fork)
    assert forked.wait(LONG)
    assert outcome == [None]


def test_who_waited_in_the_parent_does_not_hold_up_the_child() -> None:
    ctx = background()
    semaphores, queue = [Semaphore(2) for _ in range(3)], Queue[int]()
    for semaphore in semaphores:
        semaphore.acquire(ctx)  # one is free, and somebody waits for two

    def wait(semaphore: Semaphore) -> None:
        semaphore.acquire(ctx, 2)

    def get() -> None:
        assert queue.get(ctx) == 1

    waiting = [
        threading.Thread(target=wait, args=(one,), daemon=True) for one in semaphores
    ]
    waiting.append(threading.Thread(target=get, daemon=True))
    for thread in waiting:
        thread.start()
    lines = [*(semaphore._line for semaphore in semaphores), queue._items]
    while not all(line.waiting for line in lines):
        time.sleep(0)

    def child() -> None:
        first, second, third = semaphores
        assert first.try_acquire()
        second.acquire(ctx)
        third.release()
        third.acquire(ctx, 2)
        queue.put(ctx, 2)
        assert queue.get(ctx) == 2

    in_child(child)
    for semaphore in semaphores:
        semaphore.release()
    queue.put_nowait(1)
    for thread in waiting:
        thread.join(LONG)
        assert not thread.is_alive()
