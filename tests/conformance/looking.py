"""The steps that look at contexts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from tests.conformance.world import MS, World, whole

if TYPE_CHECKING:
    from tests.conformance.grammar import Step
    from tether import Key


def observation(world: World, name: str) -> list[object]:
    """Error, cause, deadline and done of a context."""
    ctx = world.context(name)
    deadline = ctx.deadline
    # Every context of tether has a done object. Where Go has none the script itself
    # tells that the context can never be done, and null stands for false.
    done = ctx.done() or (None if name in world.endless else False)
    return [
        world.errors.code(ctx.err()),
        world.errors.text(ctx.cause()),
        None if deadline is None else world.in_ms(deadline),
        done,
    ]


def observe(world: World, step: Step) -> object:
    """One observation for each of some contexts, or of all."""
    names = step["ctx"]
    if names == "*":
        names = world.shown
    elif isinstance(names, str):
        names = [names]
    return [observation(world, name) for name in names]


def count(world: World, step: Step) -> object:
    """How many members of a chain or fan look alike."""
    found: dict[str, list[object]] = {}
    counts: dict[str, int] = {}
    for name in world.members(step["prefix"]):
        seen = observation(world, name)
        text = json.dumps(seen, separators=(",", ":"))
        found[text] = seen
        counts[text] = counts.get(text, 0) + 1
    return [[counts[text], found[text]] for text in sorted(found)]


def value(world: World, step: Step) -> object:
    """The value of a key."""
    key = cast("Key[object]", world.keys.spelled(step["key"]))
    return {"value": world.context(step["ctx"]).value(key)}


# tether: WithDeadline(0.25 [0.125s]), in seconds; the vectors: WithDeadline(@256 [128])
_DEADLINE = re.compile(r"\.WithDeadline\((-?[0-9.e+-]+) \[(-?[0-9.e+-]+)s\]\)")


def text(world: World, step: Step) -> object:
    """The text of a context."""

    def in_ms(found: re.Match[str]) -> str:
        at = world.in_ms(float(found[1]))
        left = whole(float(found[2]) / MS)
        return f".WithDeadline(@{at} [{left}])"

    return {"str": _DEADLINE.sub(in_ms, str(world.context(step["ctx"])))}


STEPS: dict[str, Callable[[World, Step], object]] = {
    "observe": observe,
    "count": count,
    "value": value,
    "str": text,
}
