"""Deriving and releasing a context without a task, ns per context."""

from __future__ import annotations

from time import perf_counter_ns as now

from bench._measure import Bar, Case, Effort, Run, Side
from bench.scopes import HOUR, TURN, asyncio_alone
from tether import Context, background

PEER = "asyncio.timeout, in a task"
LIMIT = 0.15


def with_timeout(ctx: Context) -> Run:
    def run(n: int) -> int:
        start = now()
        for _ in range(n):
            ctx.with_timeout(HOUR).cancel()
        return now() - start

    return run


def with_cancel(ctx: Context) -> Run:
    def run(n: int) -> int:
        start = now()
        for _ in range(n):
            ctx.with_cancel().cancel()
        return now() - start

    return run


def as_block(ctx: Context) -> Run:
    """A `with` block in a thread: no loop, so nothing to hook."""

    def run(n: int) -> int:
        start = now()
        for _ in range(n):
            with ctx.with_timeout(HOUR):
                pass
        return now() - start

    return run


def tower(ctx: Context) -> Run:
    def run(n: int) -> int:
        start = now()
        for _ in range(n):
            c1 = ctx.with_timeout(HOUR)
            c2 = c1.with_timeout(HOUR / 2)
            c3 = c2.with_timeout(HOUR / 3)
            c4 = c3.with_timeout(HOUR / 4)
            c5 = c4.with_timeout(HOUR / 5)
            c5.cancel()
            c4.cancel()
            c3.cancel()
            c2.cancel()
            c1.cancel()
        return now() - start

    return run


def below_request(make: object, n: int) -> int:
    """What `make` measures, below a request that can end and is ended afterwards."""
    assert callable(make)
    with background().with_cancel() as root:
        spent: int = make(root)(n)
    return spent


def cases(_: Effort) -> list[Case]:
    """With and without a deadline, below the background and below a request."""
    top = background()
    bar = (Bar(LIMIT, PEER),)
    sides = [
        Side(PEER, asyncio_alone, "asyncio", TURN),
        Side("with_timeout + cancel", with_timeout(top), bars=bar),
        Side(
            "with_timeout + cancel, below a request",
            lambda n: below_request(with_timeout, n),
            bars=bar,
        ),
        Side("five deep, each nearer", tower(top), per=5, bars=bar),
        Side("with_cancel + cancel", with_cancel(top), bars=bar),
        Side(
            "with_cancel + cancel, below a request",
            lambda n: below_request(with_cancel, n),
            bars=bar,
        ),
        Side("with_timeout as a block, in a thread", as_block(top)),
    ]
    return [Case("derive and release", PEER, sides)]
