"""One round of a stress test: a tree, what is done to it from a seed, what must hold."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Self

from tether import Context, ContextError, Key, Scope, _pool, background

KEY: Key[int] = Key("key")
# TETHER_STRESS=20 makes the tests of this folder that many times as long.
SCALE = float(os.environ.get("TETHER_STRESS", "1"))
LONG = 20.0  # real seconds; only what hangs waits for so long

# The end of a context as one sees it: the error, the cause, the context that ended.
End = tuple[type[BaseException], BaseException | None, Context | None]


class Cause(Exception):
    """Given to one cancel."""


def end_of(ctx: Context) -> End | None:
    error = ctx.err()
    if error is None:
        return None
    assert isinstance(error, ContextError)
    cause = ctx.cause()
    return type(error), None if cause.__class__ is type(error) else cause, error.ctx


class Hook:
    """An `after_func`: how often it was told, and what `stop()` said."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.calls: list[None] = []
        self.stopped = 0
        self.refused = False
        self._stop = ctx.after_func(partial(self.calls.append, None))

    def stop(self) -> None:
        if self._stop():
            self.stopped += 1
        else:
            self.refused = True

    def is_due(self) -> bool:
        return self.ctx.done() and not self.stopped and not self.calls

    def must_hold(self) -> None:
        assert self.stopped <= 1
        assert len(self.calls) == (self.ctx.done() and not self.stopped)
        assert not self.refused or self.stopped or self.calls


class Round:
    """A tree that several threads use at once."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.root = background().with_cancel()
        self.parents: dict[Context, Context] = {}
        self.detached: set[Context] = set()
        self.contexts: list[Context] = [self.root]
        self.scopes: list[Scope] = [self.root]
        self.hooks: list[Hook] = []
        self.seen: list[tuple[Context, End]] = []
        chance = random.Random(seed)
        for _ in range(chance.randrange(1, 6)):
            self.derive(chance)

    # -- what a thread may do ----------------------------------------------------

    def work(self, part: int, steps: int) -> None:
        """The part of one thread."""
        chance = random.Random(self.seed * 31 + part)
        for _ in range(steps):
            operation = chance.choice(self.OPERATIONS)
            operation(self, chance)

    def derive(self, chance: random.Random) -> Context:
        up = chance.choice(self.contexts)
        kind = chance.randrange(8)
        new: Context
        if kind == 0:
            new = up.with_value(KEY, kind)
        elif kind == 1 and len(self.contexts) > 2:
            new = up.without_cancel()
            self.detached.add(new)
        else:
            scope = (
                up.with_cancel()
                if kind < 5
                else up.with_timeout(chance.choice([1e-4, 5e-4, 60.0]), Cause("late"))
            )
            self.scopes.append(scope)
            new = scope
        self.parents[new] = up
        self.contexts.append(new)
        return new

    def cancel(self, chance: random.Random) -> None:
        scope = chance.choice(self.scopes[1:] or self.scopes)
        cause = Cause("mine") if chance.random() < 0.5 else None
        over = scope.done() or any(one.done() for one in self.above(scope))
        scope.cancel(cause)
        end = end_of(scope)
        assert end is not None
        if over and cause is not None:
            assert end[1] is not cause
        self.seen.append((scope, end))

    def hook(self, chance: random.Random) -> None:
        self.hooks.append(Hook(chance.choice(self.contexts)))

    def stop(self, chance: random.Random) -> None:
        if self.hooks:
            chance.choice(self.hooks).stop()

    def look(self, chance: random.Random) -> None:
        ctx = chance.choice(self.contexts)
        end = end_of(ctx)
        if end is not None:
            self.seen.append((ctx, end))

    def wait(self, chance: random.Random) -> None:
        ctx = chance.choice(self.contexts)
        timeout = None if self.root in self.above(ctx) else chance.random() * 1e-3
        assert ctx.wait(timeout) or timeout is not None

    def interrupt(self, chance: random.Random) -> None:
        ctx = chance.choice(self.contexts)
        running: list[None] = []
        left = False

        def call() -> None:
            assert not left
            running.append(None)
            time.sleep(0)
            assert not left
            running.pop()

        try:
            with ctx.interrupting(call):
                if chance.random() < 0.5:
                    ctx.wait(chance.random() * 5e-4)
        except ContextError:
            assert ctx.done()
        left = True
        assert not running

    def enter(self, chance: random.Random) -> None:
        scope = chance.choice(self.contexts).with_timeout(chance.choice([3e-4, 60.0]))
        try:
            with scope:
                self.hooks.append(Hook(scope))
                if chance.random() < 0.3:
                    self.look(chance)
        except ContextError:
            pass
        assert scope.done()

    OPERATIONS: tuple[Callable[[Round, random.Random], object], ...] = (
        *(derive, cancel, hook, hook, stop, look, look),
        *(wait, interrupt, enter),
    )

    # -- afterwards --------------------------------------------------------------

    def above(self, ctx: Context) -> list[Context]:
        """Those whose end ends it."""
        found = []
        while ctx in self.parents:
            if ctx in self.detached:
                break
            ctx = self.parents[ctx]
            found.append(ctx)
        return found

    def end_all(self) -> None:
        """So that every thread that still waits goes home."""
        for scope in self.scopes:
            scope.cancel()

    def must_hold(self) -> None:
        """Once all threads are done with it."""
        self.end_all()
        settle(self.hooks)
        for hook in self.hooks:
            hook.must_hold()
        for ctx, end in self.seen:
            assert end == end_of(ctx)
        for ctx in self.contexts:
            end_now, above = end_of(ctx), self.above(ctx)
            if above and above[0].done():
                assert end_now is not None
                assert end_now[2] is ctx or end_now == end_of(above[0])
        for scope in self.scopes:
            assert scope._hooks is None


def settle(hooks: Sequence[Hook] = ()) -> None:
    """Until the pool has done what there is to do; it may not take long.

    A thread that has found the end of a context may still be on its way to the pool.
    """
    until = time.monotonic() + LONG / 4
    while _pool.busy() or any(hook.is_due() for hook in hooks):
        assert time.monotonic() < until, "a callback is lost, or hangs"
        time.sleep(0)


class Crew:
    """Threads that do their part of each round."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.round: Round | None = None
        self.errors: list[BaseException] = []
        self._tasks: SimpleQueue[tuple[Callable[[], object], threading.Event] | None]
        self._tasks = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, daemon=True) for _ in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._tasks.put(None)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task[0]()
            except BaseException as exc:
                self.errors.append(exc)
            task[1].set()
            del task

    def begin(self, *parts: Callable[[], object]) -> list[threading.Event]:
        """Run these at the same time, each in a thread."""
        assert len(parts) <= self.size
        started = threading.Barrier(len(parts))
        ends = [threading.Event() for _ in parts]

        def run(part: Callable[[], object]) -> None:
            started.wait(LONG)
            part()

        for part, end in zip(parts, ends):
            self._tasks.put((partial(run, part), end))
        return ends

    def join(self, ends: list[threading.Event]) -> None:
        for end in ends:
            assert end.wait(LONG), "a thread hangs"
        for error in self.errors:
            raise error
