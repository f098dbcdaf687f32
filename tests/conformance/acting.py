"""The steps that act: cancel, after-functions, waiters, time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import cast

from tests.conformance.grammar import BadVectorsError, Step
from tests.conformance.user_made import Own, Root, RootAf, WrapDone
from tests.conformance.world import FAR, MS, Stop, World
from tether import Context, Scope, background

# Real seconds that the work may take to get hold of what a step is just making.
_PATIENCE = 10.0


def cancel(world: World, step: Step) -> None:
    """Calls the cancel function that came with a context."""
    scope = cast("Scope", world.context(step["ctx"]))
    cause: BaseException | None = None
    if "cause_from" in step:
        cause = world.context(step["cause_from"]).cause()
    elif step.get("cause") is not None:
        cause = world.errors.named(step["cause"])
    if cause is None and "cause" not in step:
        scope.cancel()
    else:
        scope.cancel(cause)


def custom_cancel(world: World, step: Step) -> None:
    """Ends a user-made context with an error of its own."""
    ctx = world.context(step["ctx"])
    if not isinstance(ctx, (Own, Root)):
        raise BadVectorsError(f"{step['ctx']!r} has no end of its own")
    ctx.end(world.errors.named(step["err"]))


def custom_close(world: World, step: Step) -> None:
    """Closes the Done of a `wrap_done`."""
    ctx = world.context(step["ctx"])
    if not isinstance(ctx, WrapDone):
        raise BadVectorsError(f"{step['ctx']!r} is no wrap_done")
    ctx.close()


def registered(world: World, step: Step) -> object:
    """How many functions a `root_af` keeps."""
    ctx = world.context(step["ctx"])
    if not isinstance(ctx, RootAf):
        raise BadVectorsError(f"{step['ctx']!r} is no root_af")
    return {"n": ctx.registered}


def after_func(world: World, step: Step) -> None:
    """Registers an after-function, which logs itself and does what it is told."""
    name, ctx = step["as"], world.context(step["ctx"])
    if name in world.stops:
        raise BadVectorsError(f"the after-function {name!r} is made twice")
    # It may run, and be asked to stop, before its stop is handed back here.
    promised: Future[Stop] = Future()
    world.stops[name] = promised

    def body() -> None:
        world.work.run(f"after-function {name}", lambda: _body(world, step, ctx))

    try:
        promised.set_result(ctx.after_func(body))
    except BaseException as exc:
        promised.set_exception(exc)
        raise


def _body(world: World, step: Step, ctx: Context) -> None:
    name, acts = step["as"], step.get("do", ())
    code, text = world.errors.code(ctx.err()), world.errors.text(ctx.cause())
    world.log.note("func", name, code, text)
    for act in acts:
        if act["op"] == "sleep":
            background().sleep(act["ms"] * MS)
        elif act["op"] == "stop":
            stopped = _stop(world, act["fn"])
            world.log.note("func_stop", name, act["fn"], stopped)
        else:
            STEPS[act["op"]](world, act)
    if any(act["op"] == "sleep" for act in acts):
        world.log.note("func_end", name)


def stop(world: World, step: Step) -> object:
    """Stops an after-function, if it can still be."""
    return {"stopped": _stop(world, step["fn"])}


def _stop(world: World, name: str) -> bool:
    try:
        promised = world.stops[name]
    except KeyError:
        raise BadVectorsError(f"no after-function is named {name!r} here") from None
    return promised.result(_PATIENCE)()


def wait(world: World, step: Step) -> None:
    """Starts a waiter, which logs how it woke."""
    name, ctx = step["as"], world.context(step["ctx"])
    limit = step.get("max")
    if limit is None and step["ctx"] in world.endless:
        limit = FAR  # so that it ends with the scenario

    def woke(done: bool) -> None:
        code = world.errors.code(ctx.err())
        world.log.note("wait", name, "done" if done else "max", code)

    world.way.wait(name, ctx, None if limit is None else limit * MS, woke)


async def advance(world: World, step: Step) -> object:
    """Lets time pass."""
    await world.way.advance(step["ms"] * MS)
    return {"now": world.now(), "ev": world.log.take()}


async def settle(world: World, step: Step) -> object:
    """Lets everything run that can run without time passing."""
    await world.way.settle()
    return {"ev": world.log.take()}


STEPS: dict[str, Callable[[World, Step], object]] = {
    "cancel": cancel,
    "custom_cancel": custom_cancel,
    "custom_close": custom_close,
    "registered": registered,
    "after_func": after_func,
    "stop": stop,
    "wait": wait,
    "advance": advance,
    "settle": settle,
}
