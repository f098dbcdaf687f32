"""By how much the incident is scaled, so that this machine can bear it.

The rate is what the machine gives: it is measured, and a part of it is taken. The rest
follows from the rate, in the proportions of the incident: the places for prefetches as
many as there were for the views of one pod, the memory limit reached by about half of
what comes during the degradation. There it took minutes, and each stuck prefetch held
some 12 KiB; here it takes seconds, and a cart weighs as much more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from demo.load import CARTS, Burst

MIB = 1024 * 1024
# The incident.
RATE, PODS, MEMORY, PLACES = 800.0, 4, 512.0, 256
SLOW = 9.0  # seconds
# The demo.
SHARE = 0.11  # of what the machine gives: it may give less in the next minute
SLOWEST, FASTEST = 8.0, 60.0  # requests a second
HEADROOM = 40.0  # MiB that stuck prefetches may take
CALL = 48 * 1024  # bytes that a stuck one holds beside its cart
TIMES = 2.5


@dataclass(frozen=True)
class Timeline:
    """What happens when, in seconds from the beginning of the traffic."""

    degraded: float
    burst: Burst
    recovered: float
    stop: float  # of the first pod
    end: float

    @staticmethod
    def of(seconds: float) -> Timeline:
        """A replay of this length."""
        at = seconds / 56.0
        burst = Burst(13.0 * at, 16.0 * at, TIMES)
        return Timeline(10.0 * at, burst, 32.0 * at, 52.0 * at, seconds)


@dataclass(frozen=True)
class Scale:
    """All numbers of a replay."""

    rate: float  # requests a second
    pods: int
    memory: float  # MiB of a pod
    places: int  # for prefetches in a pod
    weight: int  # bytes of a cart
    capacity: float  # requests a second that one shop got answered at most
    base: float  # MiB of a pod that does little

    @property
    def told(self) -> dict[str, object]:
        """By name, with those of the incident."""
        there = {"rate": RATE, "pods": PODS, "memory": MEMORY, "places": PLACES}
        by = {"rate_scaled_by": round(RATE / self.rate, 1)}
        return {**asdict(self), **by, "incident": there}


def scaled(
    capacity: float,
    base: float,
    line: Timeline,
    *,
    rate: float | None,
    pods: int,
    memory: float | None,
) -> Scale:
    """The numbers for this machine; `rate` and `memory` if they are given."""
    if rate is None:
        rate = round(min(FASTEST, max(SLOWEST, SHARE * capacity)))
    if memory is None:
        memory = round(base + HEADROOM)
    views = rate * CARTS / pods  # a second, in one pod
    places = max(4, round(PLACES / (RATE / PODS) * views))
    stuck = views * 0.55 * (line.recovered - line.degraded)
    room = max(memory - base, 8.0) * MIB
    weight = max(4096, int(room / stuck - CALL))
    return Scale(rate, pods, memory, places, weight, capacity, base)
