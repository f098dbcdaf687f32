"""Measures sides of a case in turns, so that noise hits all of them alike.

A side is a function `run(n)` that does n operations and returns the nanoseconds they
took (or a list of single samples). Every round runs each side once, in an order that
rotates, after a garbage collection; a ratio is taken inside a round, never across two.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Literal, Self

Reading = int | list[int]
Run = Callable[[int], Reading] | Callable[[int], Coroutine[object, None, Reading]]
Where = Literal["thread", "asyncio", "uvloop", "trio"]

HANG = 20.0  # a side that takes longer than this in one call is broken
MOST_OPERATIONS = 1_000_000


@dataclass(frozen=True)
class Bar:
    """A limit: of another side of the case, or (`of` empty) in the case's own unit."""

    limit: float
    of: str = ""


@dataclass(frozen=True)
class Side:
    """One competitor: what it is called, what it runs, and on which event loop."""

    name: str
    run: Run
    on: Where = "thread"
    per: int = 1  # operations that one n stands for
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class Case:
    """Sides that do the same work; ratios are taken of the side named `base`."""

    name: str
    base: str
    sides: Sequence[Side]
    unit: Literal["ns", "bytes", "count"] = "ns"
    n: int = 0  # 0: calibrated


@dataclass(frozen=True)
class Effort:
    """How long one call lasts, how many rounds there are, how long a case may take."""

    seconds: float
    rounds: int
    budget: float
    large: bool  # whether the sizes are those of the real run


FULL = Effort(seconds=0.012, rounds=15, budget=3.0, large=True)
QUICK = Effort(seconds=0.0001, rounds=2, budget=0.1, large=False)


@dataclass
class Verdict:
    """A bar with what was measured against it; `value` is None if nothing was."""

    bar: Bar
    value: float | None
    met: bool


@dataclass
class Row:
    """One line of the table; `median` and `p99` are per operation."""

    case: Case
    side: Side
    error: str = ""
    median: float | None = None
    p99: float | None = None
    ratio: float | None = None
    verdicts: list[Verdict] = field(default_factory=list)


class _Loops:
    """The event loops of one case, started when first needed."""

    def __init__(self) -> None:
        self._runners: dict[Where, asyncio.Runner] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for runner in self._runners.values():
            runner.close()

    def call(self, side: Side, n: int) -> Reading:
        """Run n operations of a side where it belongs."""
        if side.on in ("asyncio", "uvloop"):
            self._start(side.on)  # first: a missing loop leaves no coroutine behind
        got = side.run(n)
        if isinstance(got, int | list):
            return got
        if side.on == "trio":
            import trio

            async def main() -> Reading:
                return await got

            return trio.run(main)

        async def guarded() -> Reading:
            async with asyncio.timeout(HANG):
                return await got

        return self._runners[side.on].run(guarded())

    def _start(self, where: Where) -> None:
        if where in self._runners:
            return
        if where == "uvloop":
            import uvloop

            self._runners[where] = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        else:
            self._runners[where] = asyncio.Runner()


class _Entrant:
    """A side while it is measured."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.n = 1
        self.error = ""
        self.wall = 0.0  # of one call, preparations included
        self.rounds: dict[int, float] = {}
        self.samples: list[float] = []

    def call(self, loops: _Loops, number: int | None = None) -> float:
        """One call; with a round's number its reading is kept."""
        gc.collect()
        began = time.perf_counter()
        try:
            reading = loops.call(self.side, self.n)
        except Exception as exc:  # a peer that cannot do it is a result, too
            self.error = f"{type(exc).__name__}: {exc}".split("\n")[0]
            return 0.0
        wall = time.perf_counter() - began
        if number is None:
            return wall
        if isinstance(reading, list):
            samples = [sample / self.side.per for sample in reading]
            self.samples += samples
            self.rounds[number] = median(samples)
        else:
            self.rounds[number] = reading / (self.n * self.side.per)
        return wall

    def calibrate(self, loops: _Loops, fixed: int, seconds: float) -> None:
        """Find the n whose call lasts about so many seconds."""
        self.n = fixed or 1
        self.wall = self.call(loops)  # the first call also imports the peer
        if fixed:
            return
        while not self.error:
            self.wall = self.call(loops)
            if self.wall >= seconds or self.n >= MOST_OPERATIONS:
                return
            grow = seconds * 1.2 / max(self.wall, 1e-7)
            self.n = min(MOST_OPERATIONS, max(self.n + 1, int(self.n * min(grow, 20))))


def measure(case: Case, effort: Effort) -> list[Row]:
    """All rows of a case, measured in turns; a side that fails says so in its row."""
    entrants = [_Entrant(side) for side in case.sides]
    gc.collect()
    gc.freeze()  # what is loaded by now is not gone through before each call
    with _Loops() as loops:
        for entrant in entrants:
            entrant.calibrate(loops, case.n, effort.seconds)
        round_wall = sum(entrant.wall for entrant in entrants)
        rounds = min(effort.rounds, max(2, int(effort.budget / max(round_wall, 1e-6))))
        for number in range(rounds):
            turn = number % len(entrants)
            for entrant in entrants[turn:] + entrants[:turn]:
                if not entrant.error:
                    entrant.call(loops, number)
    by_name = {entrant.side.name: entrant for entrant in entrants}
    return [_row(case, entrant, by_name) for entrant in entrants]


def _row(case: Case, entrant: _Entrant, by_name: dict[str, _Entrant]) -> Row:
    row = Row(case, entrant.side, entrant.error)
    if not row.error:
        row.median = median(entrant.samples or entrant.rounds.values())
        row.ratio = _ratio(entrant, by_name[case.base])
    if entrant.samples and not row.error:
        ordered = sorted(entrant.samples)
        row.p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    for bar in entrant.side.bars:
        value = _ratio(entrant, by_name[bar.of]) if bar.of else row.median
        met = value is not None and value <= bar.limit
        row.verdicts.append(Verdict(bar, value, met))
    return row


def _ratio(entrant: _Entrant, base: _Entrant) -> float | None:
    if entrant.error or base.error:
        return None
    both = entrant.rounds.keys() & base.rounds.keys()
    if not all(base.rounds[number] for number in both):
        return None  # of nothing
    return median(entrant.rounds[number] / base.rounds[number] for number in both)
