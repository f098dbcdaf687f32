"""Two operations on one tree, the second at every point inside the first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from itertools import product

import pytest

from tests.stress.preempt import LONG, Partner, between, inside
from tests.stress.rounds import SCALE, Cause, Hook, settle
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Key,
    _clock,
    _timers,
    background,
)

pytestmark = [pytest.mark.stress, pytest.mark.timeout(method="thread")]

KEY: Key[int] = Key("key")
BUDGET = 3.0 * SCALE  # seconds that each test may take
now = 0.0  # what the clock shows


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # Timers of an earlier test that are about to come would not come by this clock.
    until = time.monotonic() + LONG
    while len(_timers.threads):
        assert time.monotonic() < until, "an earlier test has left a timer"
        time.sleep(0.001)
    monkeypatch.setattr(_clock, "now", lambda: now)


Seen = tuple[type[BaseException], BaseException | None]


class Little:
    """A tree of a few contexts, and what may be done to it at the same time.

    top -- scope (ends at 5) -- value -- leaf
                            \\-- block (entered)
    """

    def __init__(self, *, hooked: bool) -> None:
        global now
        now = 0.0
        self.late = Cause("late")
        self.top = background().with_cancel()
        self.scope = self.top.with_timeout(5.0, self.late)
        self.leaf = self.scope.with_value(KEY, 1).with_cancel()
        self.block = self.scope.with_cancel()
        self.block.__enter__()
        self.causes = {name: Cause(name) for name in ("top", "scope", "leaf")}
        self.leaving = False
        self.seen: dict[Context, set[Seen]] = {}
        self.hooks: list[Hook] = []
        if hooked:
            self.hooks += Hook(self.leaf), Hook(self.block)

    # -- operations ------------------------------------------------------------

    def cancel_top(self) -> None:
        self.top.cancel(self.causes["top"])
        self.look(self.top, self.scope, self.leaf, self.block)
        assert self.leaf.done()
        assert self.block.done()

    def cancel_scope(self) -> None:
        self.scope.cancel(self.causes["scope"])
        assert self.leaf.done()
        assert self.block.done()
        self.look(self.leaf, self.block, self.scope)

    def cancel_leaf(self) -> None:
        self.leaf.cancel(self.causes["leaf"])
        assert self.leaf.done()
        self.look(self.leaf)

    def cancel_leaf_quietly(self) -> None:
        self.leaf.cancel()
        assert self.leaf.done()
        self.look(self.leaf)

    def leave(self) -> None:
        if self.leaving:
            return  # a block is left once
        self.leaving = True
        self.block.__exit__(None, None, None)
        assert self.block.done()
        self.look(self.block)

    def hook_leaf(self) -> None:
        self.hooks.append(Hook(self.leaf))

    def hook_block_and_stop(self) -> None:
        hook = Hook(self.block)
        self.hooks.append(hook)
        hook.stop()

    def stop_all(self) -> None:
        for hook in [*self.hooks]:
            hook.stop()

    def look_at_all(self) -> None:
        self.look(self.leaf, self.block, self.scope, self.top)

    def let_time_pass(self) -> None:
        global now
        now = 10.0
        assert self.leaf.done()
        self.look_at_all()

    def tick(self) -> None:
        _timers.threads._tick()

    def derive(self) -> None:
        with_own = self.leaf.with_timeout(1.0)
        self.hooks.append(Hook(with_own))
        with_own.cancel()
        assert with_own.done()

    def listen(self) -> None:
        calls: list[None] = []
        remove = self.leaf.done_signal().add_callback(lambda: calls.append(None))
        removed = remove()
        assert not (removed and calls)
        assert removed or calls or self.leaf.done()

    def descriptor(self) -> None:
        assert self.leaf.fileno() == self.leaf.fileno()

    def drop(self) -> None:
        dropped = self.leaf.with_timeout(2.0)
        stop = dropped.after_func(dict)
        dropped.cancel()
        stop()

    # -- looking ---------------------------------------------------------------

    def look(self, *all_: Context) -> None:
        for ctx in all_:
            error, cause = ctx.err(), ctx.cause()
            if error is not None:
                found = (
                    None if isinstance(cause, Canceled | DeadlineExceeded) else cause
                )
                self.seen.setdefault(ctx, set()).add((type(error), found))

    def must_hold(self) -> None:
        """Whatever has happened in whichever order."""
        self._must_hold()
        self.__dict__.clear()
        assert len(_timers.threads) == 0

    def _must_hold(self) -> None:
        self.look_at_all()
        for ctx, seen in self.seen.items():
            assert len(seen) == 1, (ctx, seen)
        legal: dict[Context, set[BaseException | None]] = {
            self.top: {self.causes["top"]},
            self.scope: {self.causes["scope"], self.late},
            self.leaf: {self.causes["leaf"], None},
            self.block: {None},
        }
        above = {self.scope: self.top, self.leaf: self.scope, self.block: self.scope}
        for ctx, (end,) in self.seen.items():
            if ctx in above and end in self.seen.get(above[ctx], set()):
                continue
            assert end[1] in legal[ctx]
        for below, up in above.items():
            assert not up.done() or below.done()
        settle(self.hooks)
        for hook in self.hooks:
            hook.must_hold()
        for one in (self.leaf, self.scope, self.top):
            one.cancel()
        self.block.__exit__(None, None, None)
        settle(self.hooks)
        for hook in self.hooks:
            assert hook.stopped or hook.ctx.done()
            hook.must_hold()
        for one in (self.leaf, self.block, self.scope, self.top):
            assert one._hooks is None


OPERATIONS = [
    Little.cancel_top,
    Little.cancel_scope,
    Little.cancel_leaf,
    Little.cancel_leaf_quietly,
    Little.leave,
    Little.hook_leaf,
    Little.hook_block_and_stop,
    Little.stop_all,
    Little.look_at_all,
    Little.let_time_pass,
    Little.tick,
    Little.derive,
    Little.listen,
    Little.descriptor,
    Little.drop,
]
Operation = Callable[[Little], None]


def programs(seed: int) -> Iterator[tuple[Operation, Operation, bool]]:
    """Each pair, with and without functions that wait already; until time is up."""
    every = [*product(OPERATIONS, OPERATIONS, (True, False))]
    random.Random(seed).shuffle(every)
    until = time.monotonic() + BUDGET
    for program in every:
        if program[:2] == (Little.tick, Little.tick):
            continue  # one thread only runs the timers
        if time.monotonic() > until:
            return
        yield program


def name(program: tuple[Operation, Operation, bool], *points: int | None) -> str:
    first, second, hooked = program
    return f"{first.__name__} {second.__name__} hooked={hooked} at {points}"


def test_an_operation_in_the_middle_of_another_in_one_thread(seed: int) -> None:
    """As a signal handler, a finalizer or a weakref callback would do it."""
    for program in programs(seed):
        first, second, hooked = program
        number, reached = 0, True
        while reached:
            little = Little(hooked=hooked)
            try:
                reached = inside(lambda: first(little), lambda: second(little), number)
                little.must_hold()
            except BaseException as exc:
                exc.add_note(name(program, number))
                raise
            number += 1


def test_an_operation_in_the_middle_of_another_in_two_threads(seed: int) -> None:
    with Partner() as partner:
        for program in programs(seed):
            first, second, hooked = program
            number, reached = 0, True
            while reached:
                little = Little(hooked=hooked)
                try:
                    reached, _ = between(
                        lambda: first(little),
                        lambda: second(little),
                        number,
                        None,
                        partner,
                    )
                    little.must_hold()
                except BaseException as exc:
                    exc.add_note(name(program, number))
                    raise
                number += 1


def test_two_threads_that_take_turns_twice(seed: int) -> None:
    """The second is stopped in its middle, too, while the first goes on."""
    chance = random.Random(seed)
    with Partner() as partner:
        for program in programs(seed):
            first, second, hooked = program
            for _ in range(20):
                number, back = chance.randrange(90), chance.randrange(60)
                little = Little(hooked=hooked)
                try:
                    between(
                        lambda: first(little),
                        lambda: second(little),
                        number,
                        back,
                        partner,
                    )
                    little.must_hold()
                except BaseException as exc:
                    exc.add_note(name(program, number, back))
                    raise
