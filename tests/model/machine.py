"""tether beside the reference, step by step, on a clock that the machine moves."""

from __future__ import annotations

import gc
import os
import select
import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.reference import CANCELABLE, SEPARATE, Ref, Told, Waiting, World
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Key,
    Scope,
    Signal,
    background,
    current,
)
from tether import _current as current_variable
from tether.testing import VirtualClock

KEYS: list[Key[int]] = [Key("color"), Key("color"), Key("size")]

# Few and even, so that many instants coincide, and sums of them are exact.
seconds = st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf")])
offsets = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0])
reserves = st.sampled_from([0.0, 0.0, 0.25, 0.5, 2.0])
picks = st.integers(0, 63)


class Cause(Exception):
    """Equal to itself only."""


causes = st.sampled_from([None, Cause]).map(lambda make: make and make("why"))


class Wrapper(Context):
    """A context made by a user that is what another one is."""

    def __init__(self, inner: Context) -> None:
        self.inner = inner

    @property
    def deadline(self) -> float | None:
        return self.inner.deadline

    def err(self) -> BaseException | None:
        return self.inner.err()

    def value(self, key: Key[Any], default: Any = None) -> Any:
        return self.inner.value(key, default)

    def done_signal(self) -> Signal:
        return self.inner.done_signal()


class Own(Context):
    """A context made by a user that ends by itself and keeps values of another."""

    def __init__(self, parent: Context, claim: float) -> None:
        self.parent = parent
        self.values: dict[object, Any] = {key: parent.value(key) for key in KEYS}
        self.claim = None if claim == float("inf") else claim
        self.signal = Signal()
        self.error: ContextError | None = None

    @property
    def deadline(self) -> float | None:
        return self.claim

    def err(self) -> BaseException | None:
        return self.error

    def value(self, key: Key[Any], default: Any = None) -> Any:
        found = self.values.get(key)
        return default if found is None else found

    def done_signal(self) -> Signal:
        return self.signal


@dataclass(eq=False)
class Pair:
    """A context of ours and the one of the reference."""

    ctx: Context
    ref: Ref

    def agrees(self, world: World) -> None:
        ctx, ref = self.ctx, self.ref
        end = ref.end
        assert ctx.done() is (end is not None)
        error = ctx.err()
        if end is None:
            assert error is None
            assert ctx.cause() is None
            ctx.check()
        else:
            assert type(error) is end.error
            assert isinstance(error, ContextError)
            assert error.__cause__ is end.cause
            cause = ctx.cause()
            assert type(cause) is end.error if end.cause is None else cause is end.cause
        left = None if ref.deadline == float("inf") else ref.deadline
        assert ctx.deadline == left
        assert ctx.remaining() == max(0.0, ref.deadline - world.now)
        for key in KEYS:
            assert ctx.value(key, -1) == ref.values.get(key, -1)


@dataclass(eq=False)
class Func:
    """A function given to `after_func`; counts its calls."""

    told: Told
    owner: Ref
    stop: Callable[[], bool]
    calls: list[float]


@dataclass(eq=False)
class Waiter:
    """A thread in `ctx.wait()`."""

    waiting: Waiting
    owner: Ref
    thread: threading.Thread
    woken: list[tuple[float, bool]] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """The rules: what a user can do. The invariants: nobody can tell the two apart."""

    # Whether what is dropped must be freed, and warned of, at once.
    watches_memory = False

    looking = "always"

    @initialize(looking=st.sampled_from(["always", "sometimes", "at the end"]))
    def begin(self, looking: str) -> None:
        # Looking commits an end, so who always looks never sees what is found late.
        self.looking = looking
        gc.freeze()  # what the tests hold need not be looked at each time
        self.clock = VirtualClock()
        self.clock.__enter__()
        current_variable.var.set(None)
        self.world = World()
        self.root = Pair(background(), self.world.root)
        self.pairs: list[Pair] = []
        self.funcs: list[Func] = []
        self.waiters: list[Waiter] = []
        self.entered: list[tuple[Ref, Ref | None]] = []  # and what was current before
        self.left: set[Ref] = set()
        self.innermost: Ref | None = None
        self.fds: dict[Ref, int] = {}

    def pick(self, number: int) -> Pair:
        """One of all, and of the last four half the time."""
        if not self.pairs or number == 63:
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
        self.pairs.append(Pair(up.ctx.with_cancel(), ref))

    @rule(of=picks, after=seconds, cause=causes, reserve=reserves)
    def with_timeout(
        self, of: int, after: float, cause: Cause | None, reserve: float
    ) -> None:
        up = self.pick(of)
        when = self.world.now + after
        ref = self.world.with_deadline(up.ref, when, cause, reserve)
        ctx = up.ctx.with_timeout(after, cause, reserve=reserve)
        self.pairs.append(Pair(ctx, ref))

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
        self.pairs.append(Pair(ctx, ref))

    @rule(of=picks, key=st.sampled_from(KEYS), value=st.integers(0, 9))
    def with_value(self, of: int, key: Key[int], value: int) -> None:
        up = self.pick(of)
        ref = self.world.with_value(up.ref, key, value)
        self.pairs.append(Pair(up.ctx.with_value(key, value), ref))

    @rule(of=picks)
    def without_cancel(self, of: int) -> None:
        up = self.pick(of)
        ref = self.world.derive(up.ref, "detached")
        self.pairs.append(Pair(up.ctx.without_cancel(), ref))

    @rule(of=picks)
    def wrap(self, of: int) -> None:
        up = self.pick(of)
        ref = self.world.derive(up.ref, "wrapper")
        self.pairs.append(Pair(Wrapper(up.ctx), ref))

    @rule(of=picks, claim=st.sampled_from([-1.0, 0.5, 1.0, float("inf")]))
    def own(self, of: int, claim: float) -> None:
        up = self.pick(of)
        claim += self.world.now
        ref = self.world.own(up.ref, claim)
        self.pairs.append(Pair(Own(up.ctx, claim), ref))

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
            assert func.stop() is self.world.stop(func.told)

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
        scopes = above(pair.ref)
        if scopes:
            assert self.fds.setdefault(scopes[0], fd) == fd
        else:
            readable = pair.ref.end is not None
            assert select.select([fd], [], [], 0)[0] == [fd] * readable

    # -- forgetting ------------------------------------------------------------

    @rule(of=picks)
    def drop(self, of: int) -> None:
        """Refer to it no longer: it is gone at once, with what only it held."""
        pair = self.pick(of)
        busy = {func.owner for func in self.funcs}
        for one in self.waiters:
            if one.waiting.woken is None:
                busy.update(path(one.owner))  # teardown must be able to end it
        busy |= {ref for ref, _ in self.entered} | self.left
        kinds = {ref.kind for ref in path(pair.ref)}
        if pair is self.root or pair.ref in busy or "own" in kinds:
            return  # what is told by a context of a user's is held by it
        self.pairs.remove(pair)
        held = {up for ref in busy for up in path(ref)}
        held |= {up for one in self.pairs for up in path(one.ref)}
        gone = [ref for ref in path(pair.ref) if ref not in held]
        never = [ref for ref in gone if ref.kind == CANCELABLE and ref.end is None]
        weak, fds = weakref.ref(pair.ctx), [self.fds.pop(ref, -1) for ref in gone]
        last = [pair]
        del pair
        categories = forget(last.clear)
        if "wrapper" in kinds:
            categories += forget(gc.collect)
        assert not self.watches_memory or ((weak() is None) is bool(gone))
        assert not self.watches_memory or (categories == [ResourceWarning] * len(never))
        for fd in fds:
            assert not self.watches_memory or (fd < 0 or is_closed(fd))

    @rule()
    def collect(self) -> None:
        gc.collect(1)

    # -- what must hold --------------------------------------------------------

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
            elif ref.kind == CANCELABLE:
                break
            ref = ref.parent
        mine = [pair.ctx for pair in [self.root, *self.pairs] if pair.ref is found]
        assert not mine or current() is mine[0]

    @invariant()
    def readable_when_done(self) -> None:
        fds = {fd: owner for owner, fd in self.fds.items()}
        assert len(fds) == len(self.fds)
        readable, _, _ = select.select(list(fds), [], [], 0)
        assert set(readable) == {fd for fd in fds if fds[fd].end is not None}

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
            self.cancel_all()
            self.advance(5.0)
            self.told_once()
            self.look_at_all()
            assert all(one.waiting.woken is not None for one in self.waiters)
            self.forget_all()
        finally:
            self.cancel_all()
            self.clock.__exit__(None, None, None)
            gc.unfreeze()
            current_variable.var.set(None)

    def cancel_all(self) -> None:
        for pair in self.pairs:
            if isinstance(pair.ctx, Scope):
                pair.ctx.cancel()
                self.world.cancel(pair.ref)

    def forget_all(self) -> None:
        """Those that only their children held warn now that they go with them."""
        held = {up for pair in self.pairs for up in path(pair.ref)}
        never = [ref for ref in held if ref.kind == CANCELABLE and ref.end is None]
        weak = [weakref.ref(pair.ctx) for pair in self.pairs]
        current_variable.var.set(None)
        self.funcs.clear()
        self.waiters.clear()
        categories = forget(self.pairs.clear)
        categories += forget(gc.collect)  # functions that would wait for ever
        assert not self.watches_memory or (categories == [ResourceWarning] * len(never))
        assert not self.watches_memory or (not any(one() for one in weak))


def forget(drop: Callable[[], object]) -> list[type[Warning]]:
    """Drop references, without the help of the collector; what was warned of."""
    found: list[type[Warning]] = []

    def note(_: object, category: type[Warning], *rest: object, **more: object) -> None:
        found.append(category)  # and not the warning, which holds the scope

    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note  # type: ignore[assignment]
            drop()
    finally:
        gc.enable()
    return found


def path(ref: Ref) -> list[Ref]:
    """The context and all above it, from the leaf up, without the root."""
    found = []
    while ref.parent is not None:
        found.append(ref)
        ref = ref.parent
    return found


def above(ref: Ref) -> list[Ref]:
    """The scopes whose end is the end of this context, the nearest first."""
    found = []
    for one in path(ref):
        if one.kind in SEPARATE:
            break
        if one.kind == CANCELABLE:
            found.append(one)
    return found


def is_closed(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False
