"""The replay: what is done to a shop, and what is seen of it meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from demo.http import get_json
from demo.load import Load, arrivals
from demo.scale import MIB, SLOW, Scale, Timeline
from demo.shop import Shop
from demo.supervisor import Pod
from tether import Context, DeadlineExceeded, Group

LOOK = 0.5
QUICK = 0.03
STOP_WITHIN = 12.0
SEED = 7


@dataclass(frozen=True)
class Event:
    """Something that has happened, in seconds from the beginning."""

    when: float
    kind: str
    what: str


@dataclass(frozen=True)
class Look:
    """One pod at one moment. What it says is of its process, which has a number."""

    when: float
    pod: int
    memory: float  # MiB
    up: bool
    pid: int = 0
    tasks: int = 0
    prefetches: int = 0
    views: int = 0
    shed: int = 0
    prefetched: int = 0
    roots: tuple[tuple[str, str, int], ...] = ()


@dataclass
class Record:
    """All that was seen of one shop."""

    variant: str
    line: Timeline
    scale: Scale
    load: Load
    events: list[Event] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    captured: set[str] = field(default_factory=set)


class Replay:
    """What is done to one shop, and the record of it."""

    def __init__(self, shop: Shop, scale: Scale, line: Timeline) -> None:
        self.record = Record(shop.variant, line, scale, Load(shop.port))
        self._shop = shop
        self._began: float | None = None

    def tell(self, kind: str, what: str) -> None:
        """Note what happens now."""
        if self._began is not None:
            when = time.monotonic() - self._began
            self.record.events.append(Event(when, kind, what))

    async def run(self, ctx: Context, began: float) -> None:
        """All of it, from the first request to the last pod."""
        self._began = began
        async with Group(ctx) as group:
            group.go(self._send, began)
            group.go(self._direct, began)
            for pod in self._shop.pods:
                group.go(self._look, pod, began)
        with ctx.with_timeout(STOP_WITHIN) as stop:
            await self._shop.stop_pods(stop)
        self.record.captured = await self._shop.captured()

    async def _send(self, ctx: Context, began: float) -> None:
        line = self.record.line
        coming = arrivals(self.record.scale.rate, line.burst, line.end, SEED)
        await self.record.load.send(ctx, coming, began)

    async def _direct(self, ctx: Context, began: float) -> None:
        line = self.record.line
        await until(ctx, began + line.degraded)
        await self._shop.degrade(SLOW)
        self.tell("degraded", f"recommendations take {SLOW:g} s, not 30 ms")
        await until(ctx, began + line.burst.begin)
        self.tell("burst", f"{line.burst.times:g} times the cart views: people reload")
        await until(ctx, began + line.recovered)
        await self._shop.degrade(QUICK)
        self.tell("recovered", "recommendations are well again")
        await until(ctx, began + line.stop)
        self.tell("stop", "SIGTERM to pod 0, under load")
        self._shop.pods[0].stop()

    async def _look(self, ctx: Context, pod: Pod, began: float) -> None:
        end = began + self.record.line.end
        while (now := time.monotonic()) < end:
            try:
                with ctx.with_timeout(1.0):
                    said = await get_json(pod.port, "/_stats")
            except (OSError, ValueError, DeadlineExceeded):
                said = {}  # it is down, or too busy
            look = _look(now - began, pod.number, pod.memory / MIB, said)
            self.record.looks.append(look)
            await until(ctx, now + LOOK)


async def until(ctx: Context, when: float) -> None:
    """Sleep until that moment of the clock."""
    await ctx.sleep_async(max(0.0, when - time.monotonic()))


def _look(when: float, pod: int, memory: float, said: dict[str, Any]) -> Look:
    roots = tuple(
        (str(one["root"]), str(one["line"]), int(one["tasks"]))
        for one in said.pop("roots", ())
    )
    return Look(when, pod, memory, bool(said), **said, roots=roots)
