"""cancel() from where one cannot choose the moment: handlers, finalizers, callbacks."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from tests.loops import Run
from tests.stress.rounds import KEY, LONG, SCALE, Hook, Round, settle
from tether import Canceled, Scope, background

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(method="thread"),  # the other one uses the same timer
]

BUDGET = 1.5 * SCALE  # seconds for each test


def seeds(first: int) -> Iterator[int]:
    until = time.monotonic() + BUDGET
    while time.monotonic() < until:
        yield first
        first += 1


def work(one: Round, chance: random.Random, steps: int) -> None:
    """Whatever does not wait."""
    for _ in range(steps):
        operation = chance.choice(
            [Round.derive, Round.cancel, Round.hook, Round.stop, Round.look]
        )
        operation(one, chance)


@contextmanager
def interrupted(handler: Callable[[], object], every: float) -> Iterator[list[int]]:
    """Have the main thread interrupted by a signal handler all the time."""
    hits = [0]
    over = False

    def handle(_number: int, _frame: object) -> None:
        hits[0] += 1
        handler()
        if not over:
            # Not by itself, which would never come to an end; but once more after a
            # while, for one that comes just before a system call does not end that.
            signal.setitimer(signal.ITIMER_REAL, every * random.random() + 1e-6, 0.02)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, every)
    try:
        yield hits
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


needs_signals = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="there are no such signals here"
)


@needs_signals
def test_a_signal_handler_does_anything_in_the_middle_of_anything(seed: int) -> None:
    now: list[Round] = []

    def handler() -> None:
        if now:
            work(now[0], random.Random(time.monotonic_ns()), 1)

    until = time.monotonic() + BUDGET
    with interrupted(handler, 6e-5) as hits:
        for number in count(seed):
            if time.monotonic() > until and hits[0] > 100:
                break
            one = Round(number)
            chance = random.Random(number)
            now.append(one)
            for _ in range(10):
                work(one, chance, 5)
                one.enter(chance)
            now.clear()
            one.must_hold()


@needs_signals
def test_a_signal_handler_ends_the_wait_of_its_thread() -> None:
    for _ in range(50):
        scope = background().with_timeout(LONG)
        with interrupted(scope.cancel, 2e-3):
            assert scope.wait(LONG)
        assert isinstance(scope.err(), Canceled)


@needs_signals
def test_a_signal_handler_cancels_what_tasks_wait_in(run: Run) -> None:
    """Of one and the same thread: the loop is woken out of its sleep."""

    async def main() -> None:
        now: list[Scope] = []
        until = time.monotonic() + BUDGET
        with interrupted(lambda: [scope.cancel() for scope in now], 1e-4):
            while time.monotonic() < until:
                scope = background().with_timeout(LONG)
                now[:] = [scope]
                with pytest.raises(Canceled):
                    with scope:
                        with scope.with_cancel():
                            await scope.sleep_async(LONG)

    run(main)


class Cancels:
    """Cancels a scope when it is collected."""

    def __init__(self, scope: Scope, hook: Hook | None = None) -> None:
        self.scope = scope
        self.hook = hook
        self.me: Cancels | None = None

    def __del__(self) -> None:
        self.scope.cancel()
        if self.hook is not None:
            self.hook.stop()

    def __call__(self) -> None:
        """For use as an `after_func`."""


def test_a_finalizer_cancels_in_the_middle_of_anything(seed: int) -> None:
    """What is garbage is collected at whatever allocation comes."""
    before = gc.get_threshold()
    try:
        for number in seeds(seed):
            one = Round(number)
            chance = random.Random(number)
            gc.set_threshold(chance.randrange(2, 12), 1, 1000)
            for _ in range(8):
                hook = Hook(chance.choice(one.contexts))
                one.hooks.append(hook)
                garbage = Cancels(chance.choice(one.scopes), hook)
                garbage.me = garbage
                del garbage
                work(one, chance, 3)
                one.enter(chance)
            gc.set_threshold(*before)
            gc.collect(1)
            one.must_hold()
    finally:
        gc.set_threshold(*before)


def test_a_weak_reference_cancels_when_its_object_goes() -> None:
    """In the middle of the release of what a context held."""

    class Held:
        pass

    for way in range(3):
        other, held = background().with_cancel(), Held()
        stop_other = other.after_func(dict)
        watch = weakref.ref(held, lambda _, scope=other: scope.cancel())
        scope = background().with_cancel()
        child = scope.with_value(KEY, held).with_cancel()
        stop = child.after_func(lambda _=held: None)
        del held
        if way == 0:
            scope.cancel()
            settle()
            del stop
        elif way == 1:
            assert stop()
            scope.cancel()
            del stop
        else:
            child.cancel()
            scope.cancel()
            settle()
            del stop
        assert not other.done()
        del child
        until = time.monotonic() + LONG
        while (
            not other.done()
        ):  # the pool's thread may be on its way out of the function
            assert time.monotonic() < until
            time.sleep(0.001)
        assert watch() is None
        assert not stop_other()


def test_an_after_func_cancels_and_stops_whatever_it_likes() -> None:
    root = background().with_cancel()
    scopes = [root]
    answers: list[bool] = []
    stops: list[Callable[[], bool]] = []

    def everything() -> None:
        for scope in scopes:
            scope.cancel()
        answers.extend(stop() for stop in [*stops])
        root.with_cancel().after_func(lambda: answers.append(False))

    for number in range(50):
        scopes.append(scopes[number // 2].with_cancel())
    stops += [scope.after_func(everything) for scope in scopes for _ in range(2)]
    scopes[25].cancel()
    settle()
    assert root.done()
    assert len(answers) == len(stops) * (len(stops) + 1)
    assert not any(answers)


def test_functions_that_block_hold_up_neither_cancel_nor_each_other() -> None:
    together = threading.Barrier(60)
    scope = background().with_cancel()
    failures: list[BaseException] = []

    def block() -> None:
        try:
            together.wait(LONG)
        except threading.BrokenBarrierError as exc:
            failures.append(exc)

    for _ in range(60):
        scope.after_func(block)
    scope.cancel()
    settle()
    assert not failures


def test_cancel_after_the_loop_is_closed(run: Run) -> None:
    """Also while it is being closed, and when nothing in it came to its end."""
    canceler_may_go = threading.Event()
    scopes: list[Scope] = []
    errors: list[BaseException] = []

    def cancel() -> None:
        canceler_may_go.wait(LONG)
        try:
            for scope in scopes:
                scope.cancel()
        except BaseException as exc:
            errors.append(exc)

    async def block(scope: Scope) -> None:
        with scope, scope.with_timeout(LONG):
            await asyncio.sleep(LONG)

    for number in range(20):
        canceler_may_go.clear()
        scopes[:] = [background().with_timeout(LONG) for _ in range(20)]
        canceler = threading.Thread(target=cancel)
        canceler.start()
        loop = run.new_loop()
        tasks = [loop.create_task(block(scope)) for scope in scopes]
        loop.run_until_complete(asyncio.sleep(0))
        if number % 2:
            canceler_may_go.set()
        loop.close()
        canceler_may_go.set()
        canceler.join(LONG)
        for task in tasks:
            task.get_coro().close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        for scope in scopes:
            scope.cancel()
            scope.cancel(ValueError())
            assert isinstance(scope.err(), Canceled)
    assert not errors
