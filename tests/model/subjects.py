"""What the machine keeps of tether, each beside what the reference keeps of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from tests.core import support
from tests.model.reference import Ref, Told, Waiting, World
from tether import Context, ContextError, Key

KEYS: list[Key[int]] = [Key("color"), Key("color"), Key("size")]


class Cause(Exception):
    """Equal to itself only."""


class Wrapper(support.Wrapper):
    """A context made by a user that is what another one is, for a claimed time."""

    def __init__(self, inner: Context, claim: float) -> None:
        super().__init__(inner)
        self.claim = claim

    @property
    def deadline(self) -> float | None:
        above = self.inner.deadline
        when = min(self.claim, inf if above is None else above)
        return None if when == inf else when


class Own(support.Own):
    """A context made by a user that ends by itself and keeps values of another."""

    def __init__(self, parent: Context, claim: float) -> None:
        super().__init__(parent)
        self.kept: dict[object, Any] = {key: parent.value(key) for key in KEYS}
        self.claim = None if claim == inf else claim

    @property
    def deadline(self) -> float | None:
        return self.claim

    def value(self, key: Key[Any], default: Any = None) -> Any:
        found = self.kept.get(key)
        return default if found is None else found


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
        left = None if ref.deadline == inf else ref.deadline
        assert ctx.deadline == left
        assert ctx.remaining() == max(0.0, ref.deadline - world.now)
        for key in KEYS:
            assert ctx.value(key, -1) == ref.values.get(key, -1)


@dataclass(eq=False)
class Func:
    """A function given to `after_func`; counts its calls."""

    told: Told
    owner: Ref
    stop: Callable[[], bool] | None  # None: nobody keeps it
    calls: list[float]


@dataclass(eq=False)
class Waiter:
    """A thread in `ctx.wait()`."""

    waiting: Waiting
    owner: Ref
    thread: threading.Thread
    woken: list[tuple[float, bool]] = field(default_factory=list)
