"""Go's rules for contexts, done the plain way: everything is told at once.

What tether does lazily, with hooks and timers, this does eagerly, by walking down and
by holding every node. Slow, leaking and short, so that one can see that it is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from tether import Canceled, ContextError, DeadlineExceeded

CANCELABLE = "cancelable"
SEPARATE = {"detached", "own"}  # the end of what is above them is not theirs


@dataclass(frozen=True, eq=False)
class End:
    """The first end that reached a context: kind and cause of it, and whose it was."""

    error: type[ContextError]
    cause: BaseException | None
    origin: Ref


@dataclass(eq=False)
class Told:
    """A function that waits for the end of a context."""

    stopped: bool = False
    calls: int = 0


@dataclass(eq=False)
class Waiting:
    """A thread that waits for the end of a context, or until an instant."""

    until: float
    woken: tuple[float, bool] | None = None  # when, and whether by the end


@dataclass(eq=False)
class Ref:
    """One context."""

    kind: str
    parent: Ref | None = None
    deadline: float = inf
    sets_deadline: bool = False
    cause_then: BaseException | None = None
    values: dict[object, object] = field(default_factory=dict)
    end: End | None = None
    children: list[Ref] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else 1 + self.parent.depth

    def below(self) -> Iterator[Ref]:
        """Itself and all that was derived from it."""
        yield self
        for child in self.children:
            yield from child.below()


class World:
    """A clock and the tree below one root."""

    def __init__(self) -> None:
        self.now = 0.0
        self.root = Ref("root")

    def derive(self, parent: Ref, kind: str, **own: Any) -> Ref:
        own.setdefault("deadline", inf if kind in SEPARATE else parent.deadline)
        own.setdefault("values", parent.values)
        child = Ref(kind, parent, **own)
        parent.children.append(child)
        if parent.end is not None and kind not in SEPARATE:
            self._finish(child, parent.end)
        return child

    def with_deadline(
        self,
        parent: Ref,
        when: float,
        cause: BaseException | None = None,
        reserve: float = 0.0,
    ) -> Ref:
        if reserve:
            when = min(when, parent.deadline - reserve)
        if when == inf or when > parent.deadline:
            return self.derive(parent, CANCELABLE)
        own: dict[str, Any] = {"deadline": when, "sets_deadline": True}
        child = self.derive(parent, CANCELABLE, cause_then=cause, **own)
        if when <= self.now:
            self._expire(child)
        return child

    def with_value(self, parent: Ref, key: object, value: object) -> Ref:
        return self.derive(parent, "value", values={**parent.values, key: value})

    def wrapper(self, parent: Ref, deadline: float) -> Ref:
        """A context made by a user, which only claims another deadline."""
        own = min(deadline, parent.deadline)
        return self.derive(parent, "wrapper", deadline=own)

    def own(self, parent: Ref, deadline: float) -> Ref:
        """A context made by a user, with the values of another, that ends by itself."""
        return self.derive(parent, "own", deadline=deadline)

    def end_own(self, ref: Ref, error: type[ContextError]) -> None:
        self._finish(ref, End(error, None, ref))

    def cancel(self, ref: Ref, cause: BaseException | None = None) -> None:
        self._finish(ref, End(Canceled, cause, ref))

    def after_func(self, ref: Ref) -> Told:
        told = Told()
        ref.told.append(told)
        told.calls += ref.end is not None
        return told

    def stop(self, told: Told) -> bool:
        stopped = not told.stopped and not told.calls
        told.stopped = told.stopped or stopped
        return stopped

    def wait(self, ref: Ref, timeout: float | None) -> Waiting:
        waiting = Waiting(inf if timeout is None else self.now + timeout)
        ref.waiting.append(waiting)
        if ref.end is not None or waiting.until <= self.now:
            waiting.woken = self.now, ref.end is not None
        return waiting

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while (instant := min(self._instants(), default=inf)) <= until:
            self.now = instant
            # Of two that end at the same instant the nearer one counts.
            for ref in sorted(self.root.below(), key=lambda ref: -ref.depth):
                if ref.sets_deadline and ref.deadline == instant:
                    self._expire(ref)
            for ref in self.root.below():
                for waiting in ref.waiting:
                    if waiting.woken is None and waiting.until == instant:
                        waiting.woken = instant, False
        self.now = until

    def _instants(self) -> Iterator[float]:
        for ref in self.root.below():
            if ref.sets_deadline and ref.end is None:
                yield ref.deadline
            yield from (wait.until for wait in ref.waiting if wait.woken is None)

    def _expire(self, ref: Ref) -> None:
        self._finish(ref, End(DeadlineExceeded, ref.cause_then, ref))

    def _finish(self, ref: Ref, end: End) -> None:
        if ref.end is not None:
            return
        ref.end = end
        for told in ref.told:
            told.calls += not told.stopped
        for waiting in ref.waiting:
            if waiting.woken is None:
                waiting.woken = self.now, True
        for child in ref.children:
            if child.kind not in SEPARATE:
                self._finish(child, end)
