"""tether beside the reference, step by step, on a clock that the machine moves."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Collection
from math import inf

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.memory import above, ender, path
from tests.model.reference import CANCELABLE, Ref, World
from tests.model.subjects import KEYS, Cause, Func, Own, Pair, Waiter, Wrapper
from tests.model.watching import Watching
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Key,
    Scope,
    background,
    current,
)
from tether import _current as current_variable
from tether.testing import VirtualClock

# Few and even, so that many instants coincide, and sums of them are exact.
seconds = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, inf])
offsets = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
reserves = st.sampled_from([0.0, 0.0, 0.25, 0.5, 2.0])
picks = st.integers(0, 63)
kinds = ["scope", "scope", "scope", "timed", "value", "detached", "wrapper", "own"]
trees = st.lists(st.tuples(st.sampled_from(kinds), picks), min_size=3, max_size=9)
causes = st.sampled_from([None, Cause]).map(lambda make: make and make("why"))


class Machine(RuleBasedStateMachine):
    """The rules: what a user can do. The invariants: nobody can tell the two apart."""

    @initialize(
        looking=st.sampled_from(["always", "sometimes", "at the end"]), tree=trees
    )
    def begin(self, looking: str, tree: list[tuple[str, int]]) -> None:
        # Looking commits an end, so who always looks never sees what is found late.
        self.looking = looking
        self.world = World()
        self.watching = Watching(self.world)
        self.clock = VirtualClock()
        self.clock.__enter__()
        current_variable.var.set(None)
        self.root = Pair(background(), self.world.root)
        self.pairs: list[Pair] = []
        self.funcs: list[Func] = []
        self.waiters: list[Waiter] = []
        self.entered: list[tuple[Ref, Ref | None]] = []  # and what was current before
        self.left: set[Ref] = set()
        self.innermost: Ref | None = None
        for kind, of in tree:
            BRANCHES[kind](self, of)

    def add(self, ctx: Context, ref: Ref) -> None:
        self.pairs.append(Pair(ctx, ref))
        self.watching.made(ctx, ref)

    def roots(self) -> set[Ref]:
        """Those that this machine refers to, apart from what refers to them."""
        found = {pair.ref for pair in self.pairs}
        found |= {one.owner for one in self.waiters if one.waiting.woken is None}
        for func in self.funcs:
            end = ender(func.owner)
            if func.stop is not None and end is not None:
                found.add(end.holds)
        # The variable, and the tokens of open blocks, hold what was current.
        current = {self.innermost, *(ref for two in self.entered for ref in two)}
        return found | {ref for ref in current if ref is not None}

    def pick(self, number: int) -> Pair:
        """One of all, and of the last four half the time."""
        if not self.pairs or number > 58:
            return self.root
        if number % 2:
            return self.pairs[-1 - number // 2 % min(4, len(self.pairs))]
        return self.pairs[number // 2 % len(self.pairs)]

    def pick_scope(self, number: int) -> Pair | None:
        scopes = [pair for pair in self.pairs if pair.ref.kind == CANCELABLE]
        if not scopes:
            return None
        return scopes[-1 - number % len(scopes)]

    # -- deriving --------------------------------------------------------------

    @rule(of=picks)
    def with_cancel(self, of: int) -> None:
        up = self.pick(of)
        ref = self.world.derive(up.ref, CANCELABLE)
        self.add(up.ctx.with_cancel(), ref)

    @rule(of=picks, after=seconds, cause=causes, reserve=reserves)
    def with_timeout(
        self, of: int, after: float, cause: Cause | None, reserve: float
    ) -> None:
        up = self.pick(of)
        when = self.world.now + after
        ref = self.world.with_deadline(up.ref, when, cause, reserve)
        ctx = up.ctx.with_timeout(after, cause, reserve=reserve)
        self.add(ctx, ref)

    @rule(of=picks, offset=offsets, cause=causes, reserve=reserves)
    def with_deadline(
        self, of: int, offset: float, cause: Cause | None, reserve: float
    ) -> None:
        up = self.pick(of)
        when = self.world.now + offset
        if offset == 2.0 and up.ref.deadline < float("inf"):
            when = up.ref.deadline  # the very instant
        ref = self.world.with_deadline(up.ref, when, cause, reserve)
        ctx = up.ctx.with_deadline(when, cause, reserve=reserve)
        self.add(ctx, ref)

    @rule(of=picks, key=st.sampled_from(KEYS), value=st.integers(0, 9))
    def with_value(self, of: int, key: Key[int], value: int) -> None:
        up = self.pick(of)
        ref = self.world.with_value(up.ref, key, value)
        self.add(up.ctx.with_value(key, value), ref)

    @rule(of=picks)
    def without_cancel(self, of: int) -> None:
        up = self.pick(of)
        ref = self.world.derive(up.ref, "detached")
        self.add(up.ctx.without_cancel(), ref)

    @rule(of=picks, claim=st.sampled_from([inf, inf, inf, -1.0, 0.5, 1.0]))
    def wrap(self, of: int, claim: float) -> None:
        up, claim = self.pick(of), claim + self.world.now
        self.add(Wrapper(up.ctx, claim), self.world.wrapper(up.ref, claim))

    @rule(of=picks, claim=st.sampled_from([-1.0, 0.5, 1.0, inf]))
    def own(self, of: int, claim: float) -> None:
        up, claim = self.pick(of), claim + self.world.now
        self.add(Own(up.ctx, claim), self.world.own(up.ref, claim))

    # -- ending ----------------------------------------------------------------

    @rule(number=picks, error=st.sampled_from([Canceled, DeadlineExceeded]))
    def end_own(self, number: int, error: type[ContextError]) -> None:
        """A context made by a user ends: it says how, then it says that."""
        own = [pair for pair in self.pairs if isinstance(pair.ctx, Own)]
        if own:
            pair = own[number % len(own)]
            assert isinstance(pair.ctx, Own)
            pair.ctx.error = pair.ctx.error or error()
            pair.ctx.signal.set()
            self.world.end_own(pair.ref, error)
            self.clock.settle()

    @rule(of=picks, cause=causes)
    def cancel(self, of: int, cause: Cause | None) -> None:
        pair = self.pick_scope(of)
        if pair is not None:
            assert isinstance(pair.ctx, Scope)
            pair.ctx.cancel(cause)
            self.world.cancel(pair.ref, cause)
            self.clock.settle()

    @rule(by=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0]))
    def advance(self, by: float) -> None:
        self.clock.advance(by)
        self.world.advance(by)
        assert self.clock.now() == self.world.now

    # -- blocks ----------------------------------------------------------------

    @rule(of=picks)
    def enter(self, of: int) -> None:
        pair = self.pick_scope(of)
        if pair is None:
            return
        ref = pair.ref
        assert isinstance(pair.ctx, Scope)
        try:
            pair.ctx.__enter__()
        except RuntimeError:
            assert ref in self.left or ref in [one for one, _ in self.entered]
        except ContextError as error:
            assert ref.end is not None
            assert type(error) is ref.end.error
            self.left.add(ref)
        else:
            assert ref.end is None
            assert ref not in self.left
            self.entered.append((ref, self.innermost))
            self.innermost = ref

    @rule(number=st.integers(-3, -1))
    def leave(self, number: int) -> None:
        if not self.entered:
            return
        ref, before = self.entered.pop(max(number, -len(self.entered)))
        pair = next(pair for pair in self.pairs if pair.ref is ref)
        assert isinstance(pair.ctx, Scope)
        pair.ctx.__exit__(None, None, None)
        self.world.cancel(ref)
        self.left.add(ref)
        if self.innermost is ref:
            self.innermost = before
        self.clock.settle()

    # -- being told ------------------------------------------------------------

    @rule(of=picks)
    def after_func(self, of: int) -> None:
        pair = self.pick(of)
        calls: list[float] = []
        clock = self.clock

        def call() -> None:
            calls.append(clock.now())

        stop = pair.ctx.after_func(call)
        told = self.world.after_func(pair.ref)
        self.funcs.append(Func(told, pair.ref, stop, calls))
        self.clock.settle()

    @rule(number=picks)
    def stop(self, number: int) -> None:
        if self.funcs:
            func = self.funcs[number % len(self.funcs)]
            assert not func.stop or func.stop() is self.world.stop(func.told)

    @rule(number=picks)
    def keep_no_stop(self, number: int) -> None:
        """Refer to the function no longer; it is told all the same."""
        if self.funcs:
            self.funcs[number % len(self.funcs)].stop = None

    @rule(of=picks, timeout=st.sampled_from([None, -1.0, 0.0, 0.5, 1.0, 2.0]))
    def wait(self, of: int, timeout: float | None) -> None:
        pair = self.pick(of)
        if sum(one.waiting.woken is None for one in self.waiters) >= 4:
            return  # enough threads
        scopes = {one.ref for one in self.pairs if one.ref.kind == CANCELABLE}
        if timeout is None and not scopes.intersection(above(pair.ref)):
            timeout = 3.0  # nothing could ever wake it
        ctx, clock = pair.ctx, self.clock
        woken: list[tuple[float, bool]] = []

        def wait() -> None:
            ended = ctx.wait(timeout)
            woken.append((clock.now(), ended))

        waiting = self.world.wait(pair.ref, timeout)
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        self.waiters.append(Waiter(waiting, pair.ref, thread, woken))
        self.clock.settle()

    @rule(of=picks)
    def fileno(self, of: int) -> None:
        pair = self.pick(of)
        fd = pair.ctx.fileno()
        end = ender(pair.ref)
        if end is None:
            assert not select.select([fd], [], [], 0)[0]
        else:
            owner = end.holds if end.is_scope else pair.ref
            assert self.watching.fds.setdefault(owner, fd) == fd

    # -- forgetting ------------------------------------------------------------

    @rule(of=picks)
    def drop(self, of: int) -> None:
        """Refer to it no longer."""
        pair = self.pick(of)
        busy = {ref for ref, _ in self.entered}
        for one in self.waiters:
            if one.waiting.woken is None:
                busy.update(path(one.owner))  # teardown must be able to end it
        if pair is not self.root and pair.ref not in busy:
            self.pairs.remove(pair)

    @rule()
    def collect(self) -> None:
        self.watching.collect(self.roots())

    # -- what must hold --------------------------------------------------------

    @invariant()
    def what_is_dropped_is_freed(self) -> None:
        self.watching.look(self.roots())

    @rule(of=picks)
    def look(self, of: int) -> None:
        self.pick(of).agrees(self.world)

    @invariant()
    def told_once(self) -> None:
        for func in self.funcs:
            assert len(func.calls) == func.told.calls, (func.calls, func.told)
        for waiter in self.waiters:
            expected = [] if waiter.waiting.woken is None else [waiter.waiting.woken]
            if expected:
                waiter.thread.join(10.0)  # it is past its wait; no time passes here
            assert waiter.woken == expected

    @invariant()
    def agrees(self) -> None:
        if self.looking == "always":
            self.look_at_all()
        elif self.looking == "sometimes" and len(self.pairs) % 5 == 0:
            for pair in self.pairs[::3]:
                pair.agrees(self.world)

    @invariant()
    def current_is_the_innermost_open(self) -> None:
        ref: Ref | None = self.innermost
        found = self.root.ref if ref is None else ref
        while ref is not None:
            if ref in self.left:
                assert ref.parent is not None
                found = ref.parent
            elif ref.kind in {CANCELABLE, "wrapper", "own"}:
                break  # a user's own context is never left
            ref = ref.parent
        mine = [pair.ctx for pair in [self.root, *self.pairs] if pair.ref is found]
        assert not mine or current() is mine[0]

    def look_at_all(self) -> None:
        for pair in [self.root, *self.pairs]:
            pair.agrees(self.world)
            end = pair.ref.end
            if end is None:
                continue
            error = pair.ctx.err()
            assert isinstance(error, ContextError)
            if end.origin.kind == "own":
                continue  # the user's own exception, or in the name of a wrapper
            for origin in self.pairs:
                if origin.ref is end.origin:
                    assert error.ctx is origin.ctx

    def teardown(self) -> None:
        if not hasattr(self, "clock"):
            return
        try:
            self.look_at_all()
            while self.entered:
                self.leave(-1)
            for one in self.waiters:
                if one.waiting.woken is None and one.waiting.until == inf:
                    self.cancel_all(above(one.owner))
            self.clock.settle()
            self.told_once()
            self.advance(5.0)
            self.told_once()
            self.look_at_all()
            assert all(one.waiting.woken is not None for one in self.waiters)
            self.forget_all()
        finally:
            self.cancel_all({pair.ref for pair in self.pairs})
            self.clock.__exit__(None, None, None)
            self.watching.stop()
            current_variable.var.set(None)

    def cancel_all(self, refs: Collection[Ref]) -> None:
        for pair in self.pairs:
            if isinstance(pair.ctx, Scope) and pair.ref in refs:
                pair.ctx.cancel()
                self.world.cancel(pair.ref)

    def forget_all(self) -> None:
        """Also what has not ended: then nothing is left of it all."""
        self.innermost = None
        current_variable.var.set(None)
        self.funcs.clear()
        self.waiters.clear()
        self.pairs.clear()
        self.what_is_dropped_is_freed()
        self.collect()
        assert not self.watching.alive


BRANCHES: dict[str, Callable[[Machine, int], None]] = {
    "scope": Machine.with_cancel,
    "timed": lambda machine, of: machine.with_timeout(of, 2.0, None, 0.0),
    "value": lambda machine, of: machine.with_value(of, KEYS[0], 1),
    "detached": Machine.without_cancel,
    "wrapper": lambda machine, of: machine.wrap(of, inf),
    "own": lambda machine, of: machine.own(of, inf),
}
