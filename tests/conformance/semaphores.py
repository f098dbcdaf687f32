"""The steps on semaphores."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.grammar import BadVectorsError, Step
from tests.conformance.world import FAR, MS, World
from tether import ContextError, Semaphore, background


def sem(world: World, step: Step) -> None:
    """Makes a semaphore."""
    if step["as"] in world.semaphores:
        raise BadVectorsError(f"the semaphore {step['as']!r} is made twice")
    world.semaphores[step["as"]] = Semaphore(step["n"])


def _named(world: World, step: Step) -> Semaphore:
    try:
        return world.semaphores[step["sem"]]
    except KeyError:
        raise BadVectorsError(f"no semaphore is named {step['sem']!r} here") from None


async def acquire(world: World, step: Step) -> object:
    """Starts an acquire, which logs how it ended, and may hold what it got."""
    name, semaphore, weight = step["as"], _named(world, step), step["n"]
    ctx = world.context(step["ctx"])
    if step["ctx"] in world.endless:
        # So that it ends with the scenario.
        ctx = world.ending(ctx.with_timeout(FAR * MS))
    hold = step["hold"] * MS if "hold" in step else None

    def ended(error: ContextError | None = None) -> None:
        world.log.note("acq", name, world.errors.text(error))

    def give_back() -> None:
        world.log.note("rel", name)
        semaphore.release(weight)

    def in_thread() -> None:
        try:
            semaphore.acquire(ctx, weight)
        except ContextError as exc:
            ended(exc)
            return
        ended()
        if hold is not None:
            background().sleep(hold)
            give_back()

    async def in_task() -> None:
        try:
            await semaphore.acquire_async(ctx, weight)
        except ContextError as exc:
            ended(exc)
            return
        ended()
        if hold is not None:
            await background().sleep_async(hold)
            give_back()

    world.way.beside(f"acquire {name}", in_thread, in_task)
    await world.way.settle()
    return {"ev": world.log.take()}


def try_acquire(world: World, step: Step) -> object:
    """Takes a weight if it is there."""
    return {"ok": _named(world, step).try_acquire(step["n"])}


def release(world: World, step: Step) -> None:
    """Gives a weight back."""
    _named(world, step).release(step["n"])


STEPS: dict[str, Callable[[World, Step], object]] = {
    "sem": sem,
    "acquire": acquire,
    "try_acquire": try_acquire,
    "release": release,
}
