"""What a record says: the figures of one variant, and in what it falls short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise

from demo.load import Answer
from demo.replay import LOOK, Look, Record

BIN = 1.0
STEADY = 3.0  # seconds for which it must be normal to count as normal


@dataclass(frozen=True)
class Figures:
    """One variant in numbers."""

    requests: int
    answered: float  # percent, until the stop
    failed: int
    p50: float  # ms
    p99_before: float
    p99_degraded: float
    late_before: float  # p99 of how late a request was sent: the machine, not the shop
    late_degraded: float
    prefetched_before: float  # percent of the cart views
    shed: int
    most_tasks: int  # in one pod
    still_stuck: int  # prefetches before the stop, in all pods
    most_prefetches: int
    most_memory: float  # MiB
    killed: int
    normal_after: float | None  # seconds; None: not within the replay
    promised: int
    lost: int

    @property
    def told(self) -> dict[str, float | None]:
        """By name."""
        return asdict(self)


def figures(record: Record) -> Figures:
    """The numbers of a record."""
    line = record.line
    answers = record.load.answers
    # Who comes when the last pod has got its SIGTERM is not answered any more.
    counted = [one for one in answers if one.due < line.stop]
    failed = sum(one.failed for one in counted)
    before = [one for one in answers if one.due < line.degraded]
    degraded = [one for one in answers if line.degraded <= one.due < line.recovered]
    looks = record.looks
    return Figures(
        requests=len(counted),
        answered=round(100.0 * (1.0 - failed / max(1, len(counted))), 2),
        failed=failed,
        p50=percentile(before, 0.5),
        p99_before=percentile(before, 0.99),
        p99_degraded=percentile(degraded, 0.99),
        late_before=percentile(before, 0.99, "late"),
        late_degraded=percentile(degraded, 0.99, "late"),
        prefetched_before=round(
            100.0 * share(looks, 0.2 * line.degraded, line.degraded), 1
        ),
        shed=increase(looks, "shed", 0.0, line.end),
        most_tasks=max((one.tasks for one in looks), default=0),
        still_stuck=sum(
            one.prefetches
            for one in looks
            if line.stop - 2 * LOOK <= one.when < line.stop - LOOK
        ),
        most_prefetches=max((one.prefetches for one in looks), default=0),
        most_memory=round(max((one.memory for one in looks), default=0.0), 1),
        killed=sum(event.kind == "killed" for event in record.events),
        normal_after=normal_after(record),
        promised=len(record.load.promised),
        lost=len(record.load.promised.keys() - record.captured),
    )


def percentile(answers: Iterable[Answer], share: float, name: str = "seconds") -> float:
    """In ms; what was not answered took as long as its client waited."""
    times: list[float] = sorted(getattr(one, name) for one in answers)
    if not times:
        return 0.0
    return round(times[min(len(times) - 1, int(len(times) * share))] * 1000.0, 1)


def increase(looks: list[Look], name: str, begin: float, end: float) -> int:
    """By how much a counter of the pods has grown; a new process begins at 0."""
    total = 0
    for pod in {one.pod for one in looks}:
        seen = [one for one in looks if one.pod == pod and one.up]
        for one, two in pairwise(seen):
            if begin <= two.when < end:
                since = getattr(one, name) if one.pid == two.pid else 0
                total += getattr(two, name) - since
    return total


def share(looks: list[Look], begin: float, end: float) -> float:
    """Of the cart views, how many got their recommendations fetched."""
    views = increase(looks, "views", begin, end)
    return min(1.0, increase(looks, "prefetched", begin, end) / max(1, views))


def roots(record: Record) -> list[tuple[str, str, int]]:
    """Where the prefetches waited in the pod with most of them, when it last had."""
    looks = record.looks
    if not looks:
        return []
    return list(max(looks, key=lambda one: (one.prefetches, one.when)).roots)


def normal_after(record: Record) -> float | None:
    """Seconds from the recovery until all is as before, and stays so.

    As before: nobody gets an error, all pods are there, no more prefetches are stuck in
    one than before, and the carts' recommendations come again.
    """
    line, looks = record.line, record.looks
    before = [one for one in looks if line.degraded * 0.2 <= one.when < line.degraded]
    usual = 2 + 2 * max((one.prefetches for one in before), default=0)
    wanted = 0.8 * share(looks, line.degraded * 0.2, line.degraded)
    failures = Counter(
        int((one.due - line.recovered) // BIN)
        for one in record.load.answers
        if one.failed and one.due >= line.recovered
    )
    steps = int((line.stop - line.recovered) // BIN)
    bad = -1
    for step in range(steps):
        begin = line.recovered + step * BIN
        then = [one for one in looks if begin <= one.when < begin + BIN]
        crowded = any(not one.up or one.prefetches > usual for one in then)
        missing = share(looks, begin, begin + 2 * BIN) < wanted
        if failures[step] or crowded or missing:
            bad = step
    seconds = (bad + 1) * BIN
    return None if seconds > line.stop - line.recovered - STEADY else seconds
