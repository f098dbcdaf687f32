"""Plays one scenario, one way, from its first step to the end of its last thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.conformance import acting, constructors, grouping, looking, semaphores
from tests.conformance.compare import Difference, Raised, agree, shown
from tests.conformance.grammar import BadVectorsError, Step
from tests.conformance.user_made import Own, Root, WrapDone
from tests.conformance.world import FAR, MS, Way, World
from tether import Canceled, Scope

if TYPE_CHECKING:
    from tests.conformance.vectors import Scenario
    from tests.conformance.work import Work

_STEPS: dict[str, Callable[[World, Step], object]] = {
    **constructors.STEPS,
    **acting.STEPS,
    **looking.STEPS,
    **semaphores.STEPS,
    **grouping.STEPS,
}

# Real seconds that work may take to end once everything is canceled.
_PATIENCE = 5.0


async def play(scenario: Scenario, way: Way, work: Work) -> list[Difference]:
    """Every difference between what Go recorded and what tether does."""
    world = World(way, work)
    try:
        differences = await _script(scenario, world)
    finally:
        left = await _end(world)
    if left:
        end = f"after the last step, all canceled, {FAR} ms later"
        differences.append(Difference(end, "nothing runs", ", ".join(left)))
    for failure in work.failures:
        if isinstance(failure, BadVectorsError):
            raise failure
        differences.append(
            Difference("beside the script", "nothing raised", shown(Raised(failure)))
        )
    return differences


async def _script(scenario: Scenario, world: World) -> list[Difference]:
    differences = []
    pairs = zip(scenario.steps, scenario.expected, strict=True)
    for number, (step, expected) in enumerate(pairs, 1):
        try:
            result = _STEPS[step["op"]](world, step)
            if inspect.isawaitable(result):
                result = await result
        except BadVectorsError as exc:
            raise BadVectorsError(f"{scenario.place}: step {number}: {exc}") from exc
        except Exception as exc:
            result = Raised(exc)
        if agree(expected, result):
            continue
        place = f"step {number} {shown(step)}"
        differences.append(Difference(place, shown(expected), shown(result)))
        if isinstance(result, Raised):
            break  # what the step was to make is missing: the rest tells nothing
    return differences


async def _end(world: World) -> list[str]:
    """Ends everything that the script left open; what runs even so."""
    for ctx in world.made():
        if isinstance(ctx, Scope):
            ctx.cancel()
        elif isinstance(ctx, (Own, Root)):
            ctx.end(Canceled())
        elif isinstance(ctx, WrapDone):
            ctx.close()
    await world.way.settle()
    if world.work.running():
        await world.way.advance(2 * FAR * MS)
    return world.work.join(_PATIENCE)
