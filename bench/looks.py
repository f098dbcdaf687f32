"""Looking at a context: has it ended, and what does it carry, ns per look."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Side
from bench.scopes import HOUR
from tether import Context, Key, Scope, background

KEY: Key[int] = Key("number")
OTHER: Key[int] = Key("other")
VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("number")


def calls(n: int, look: Callable[[], object]) -> int:
    start = now()
    for _ in range(n):
        look()
    return now() - start


@contextmanager
def chain(levels: int, *, deadlines: bool = False) -> Iterator[Scope]:
    """One deadline with so many scopes below it, which may have nearer ones."""
    made = [background().with_timeout(HOUR)]
    for level in range(levels):
        above = made[-1]
        nearer = HOUR / (level + 2)
        made.append(above.with_timeout(nearer) if deadlines else above.with_cancel())
    try:
        yield made[-1]
    finally:
        for scope in reversed(made):
            scope.cancel()


def on_chain(
    look: Callable[[Context], Callable[[], object]],
    levels: int = 5,
    *,
    deadlines: bool = False,
) -> Callable[[int], int]:
    def run(n: int) -> int:
        with chain(levels, deadlines=deadlines) as ctx:
            return calls(n, look(ctx))

    return run


def ended(n: int) -> int:
    with chain(5) as ctx:
        ctx.cancel()
        return calls(n, ctx.err)


def event(n: int) -> int:
    return calls(n, threading.Event().is_set)


async def expired(n: int) -> int:
    import asyncio

    async with asyncio.timeout(HOUR) as timeout:  # noqa: ASYNC100
        return calls(n, timeout.expired)


async def checkpoint(n: int) -> int:
    from anyio import CancelScope
    from anyio.lowlevel import checkpoint_if_cancelled

    start = now()
    with CancelScope():
        for _ in range(n):
            await checkpoint_if_cancelled()
    return now() - start


def value(depth: int, *, scopes: bool = False) -> Callable[[int], int]:
    """A value so many levels up, below other values or below scopes."""

    def run(n: int) -> int:
        ctx: Context = background().with_value(KEY, 7)
        made: list[Scope] = []
        for level in range(depth - 1):
            if scopes:
                made.append(ctx.with_cancel())
                ctx = made[-1]
            else:
                ctx = ctx.with_value(OTHER, level)
        look = ctx.value
        start = now()
        for _ in range(n):
            look(KEY)
        spent = now() - start
        for scope in reversed(made):
            scope.cancel()
        return spent

    return run


def contextvar(n: int) -> int:
    VARIABLE.set(7)
    return calls(n, VARIABLE.get)


def cases(_: Effort) -> list[Case]:
    """`err()` and its kin under five levels; values at three depths."""
    bar = (Bar(200.0),)
    ends = [
        Side("threading.Event.is_set()", event),
        Side("err()", on_chain(lambda ctx: ctx.err), bars=bar),
        Side(
            "err(), five nearer deadlines",
            on_chain(lambda ctx: ctx.err, deadlines=True),
            bars=bar,
        ),
        Side("done()", on_chain(lambda ctx: ctx.done), bars=bar),
        Side("check()", on_chain(lambda ctx: ctx.check)),
        Side("remaining()", on_chain(lambda ctx: ctx.remaining)),
        Side("err(), one level", on_chain(lambda ctx: ctx.err, 0)),
        Side("err() of one that has ended", ended),
        Side("asyncio.Timeout.expired()", expired, "asyncio"),
        Side("anyio checkpoint_if_cancelled()", checkpoint, "asyncio"),
    ]
    values = [Side("ContextVar.get()", contextvar)]
    values += [Side(f"value(), depth {depth}", value(depth)) for depth in (1, 10, 50)]
    values.append(Side("value(), depth 50, scopes", value(50, scopes=True)))
    return [
        Case("has it ended: one deadline, five levels up", ends[0].name, ends),
        Case("what does it carry", values[0].name, values),
    ]
