"""The steps on groups and their tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.conformance.grammar import BadVectorsError, Step
from tests.conformance.world import MS, World
from tether import Context, Group, WaitGroup, background


def group(world: World, step: Step) -> None:
    """Makes a zero group, or one whose context gets a name."""
    made = Group(world.context(step["of"])) if "of" in step else Group()
    world.add_group(step["as"], made)
    if "ctx" in step:
        world.add(step["ctx"], made.ctx, shown=True, endless=False)
        world.group_ctx[step["as"]] = step["ctx"]


def set_limit(world: World, step: Step) -> None:
    """Sets how many may run at a time."""
    _group(world, step).set_limit(step["n"])


async def go(world: World, step: Step) -> object:
    """Starts a task; waits while the limit is reached."""
    owner, work = _group(world, step), _Task(world, step["task"], step["g"])

    async def started() -> None:
        await owner.go(work.in_task).started()

    await _returned(world, lambda: owner.go(work.in_thread), started)
    return await _settled(world)


async def try_go(world: World, step: Step) -> object:
    """Starts a task, if the limit is not reached."""
    work = _Task(world, step["task"], step["g"])
    owner = _group(world, step)
    if world.way.name == "threads":
        handle: object = owner.try_go(work.in_thread)
    else:
        handle = owner.try_go(work.in_task)
    settled = await _settled(world)
    return {"ok": handle is not None, "ev": settled["ev"]}


async def gwait(world: World, step: Step) -> object:
    """Waits for all tasks of a group."""
    owner = _group(world, step)
    found: list[str] = []
    await _returned(
        world,
        lambda: found.append(_text(world, owner.wait)),
        _then(lambda: _text_async(world, owner.wait_async), found.append),
    )
    return await _settled(world) | {"err": found[0]}


def gwait_bg(world: World, step: Step) -> None:
    """Waits for all tasks of a group beside the script."""
    owner, name = _group(world, step), step["as"]

    def note(error: str) -> None:
        world.log.note("gwait", name, error)

    world.way.beside(
        f"gwait {name}",
        lambda: note(_text(world, owner.wait)),
        _then(lambda: _text_async(world, owner.wait_async), note),
    )


def wg(world: World, step: Step) -> None:
    """Makes a WaitGroup."""
    world.add_group(step["as"], WaitGroup())


def wg_add(world: World, step: Step) -> None:
    """Adds to the counter."""
    _wait_group(world, step).add(step.get("n", 1))


def wg_done(world: World, step: Step) -> None:
    """Takes one from the counter."""
    _wait_group(world, step).done()


async def wg_go(world: World, step: Step) -> object:
    """Starts a task."""
    owner, work = _wait_group(world, step), _Task(world, step["task"], step["wg"])
    if world.way.name == "threads":
        owner.go(work.in_thread)
    else:
        owner.go(work.in_task)
    return {"ev": (await _settled(world))["ev"]}


async def wg_wait(world: World, step: Step) -> object:
    """Waits until the counter is zero."""
    owner = _wait_group(world, step)
    await _returned(world, owner.wait, owner.wait_async)
    return await _settled(world)


def wg_wait_bg(world: World, step: Step) -> None:
    """Waits until the counter is zero, beside the script."""
    owner, name = _wait_group(world, step), step["as"]

    def note(_: None) -> None:
        world.log.note("wgwait", name)

    world.way.beside(
        f"wgwait {name}",
        lambda: note(owner.wait()),
        _then(owner.wait_async, note),
    )


class _Task:
    """A task of a script."""

    def __init__(self, world: World, spec: Step, owner: str) -> None:
        self._world = world
        self._spec = spec
        self._owner = owner

    def in_thread(self, ctx: Context) -> None:
        """The work, for a thread."""
        coroutine = self.in_task(ctx)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()
        raise RuntimeError("a task was suspended outside of an event loop")

    async def in_task(self, ctx: Context) -> None:
        """The work; in a thread its waits block, so it is never suspended."""
        world, spec = self._world, self._spec
        token = world.work.began(f"task {spec['id']}")
        try:
            error = await self._work(self._context(ctx))
            if error is not None:
                raise error
        finally:
            world.work.ended(token)

    def _context(self, given: Context) -> Context | None:
        """The context as the language has it: a zero group has none."""
        if "ctx" in self._spec:
            return self._world.context(self._spec["ctx"])
        return given if self._owner in self._world.group_ctx else None

    async def _work(self, ctx: Context | None) -> BaseException | None:
        world, spec = self._world, self._spec
        world.log.note("start", spec["id"], _over(ctx))
        # What does not look at its context must not be interrupted by it either.
        with background().without_cancel().with_cancel():
            if spec.get("delay"):
                await world.way.sleep(spec["delay"] * MS)
            for task in spec.get("spawn", ()):
                await self._spawn(_Task(world, task, self._owner))
        canceled = False
        if ctx is not None and spec.get("obey"):
            canceled = _over(ctx) or await world.way.wait_here(
                ctx, spec.get("dur", 0) * MS
            )
            saw = canceled
        else:
            with background().without_cancel().with_cancel():
                await world.way.sleep(spec.get("dur", 0) * MS)
            saw = _over(ctx)
        error = self._error(ctx, canceled)
        world.log.note("end", spec["id"], world.errors.text(error), saw)
        return error

    async def _spawn(self, work: _Task) -> None:
        owner = self._world.groups[self._owner]
        if self._world.way.name == "threads":
            owner.go(work.in_thread)
        else:
            await owner.go(work.in_task).started()

    def _error(self, ctx: Context | None, canceled: bool) -> BaseException | None:
        how = self._spec.get("on_cancel", "ret") if canceled else "ret"
        if how == "ret":
            name = self._spec.get("ret")
            return None if name is None else self._world.errors.named(name)
        if how == "nil" or ctx is None:
            return None
        return ctx.err() if how == "err" else ctx.cause()


def _over(ctx: Context | None) -> bool:
    return ctx is not None and ctx.err() is not None


async def _returned(
    world: World, call: Callable[[], object], call_async: Callable[[], Awaitable[Any]]
) -> None:
    """Makes a call that may wait, and lets time pass until it has returned."""
    returned: list[float] = []
    failed: list[BaseException] = []

    def blocking() -> None:
        try:
            call()
        except BaseException as exc:
            failed.append(exc)
        returned.append(world.now())

    async def waiting() -> None:
        try:
            await call_async()
        except BaseException as exc:
            failed.append(exc)
        returned.append(world.now())

    world.way.beside("a call of the script", blocking, waiting)
    await world.way.settle()
    while not returned:
        await world.way.advance(MS)
    world.returned = returned[0]
    if failed:
        raise failed[0]


async def _settled(world: World) -> dict[str, object]:
    await world.way.settle()
    return {"t": world.returned, "ev": world.log.take()}


def _then(
    first: Callable[[], Awaitable[Any]], then: Callable[[Any], object]
) -> Callable[[], Awaitable[None]]:
    async def both() -> None:
        then(await first())

    return both


def _text(world: World, wait: Callable[[], None]) -> str:
    try:
        wait()
    except Exception as exc:
        return world.errors.text(exc)
    return ""


async def _text_async(world: World, wait: Callable[[], Awaitable[None]]) -> str:
    try:
        await wait()
    except Exception as exc:
        return world.errors.text(exc)
    return ""


def _group(world: World, step: Step) -> Group:
    found = world.groups.get(step["g"])
    if not isinstance(found, Group):
        raise BadVectorsError(f"no group is named {step['g']!r} here")
    return found


def _wait_group(world: World, step: Step) -> WaitGroup:
    found = world.groups.get(step["wg"])
    if not isinstance(found, WaitGroup):
        raise BadVectorsError(f"no WaitGroup is named {step['wg']!r} here")
    return found


STEPS: dict[str, Callable[[World, Step], object]] = {
    "group": group,
    "set_limit": set_limit,
    "go": go,
    "try_go": try_go,
    "gwait": gwait,
    "gwait_bg": gwait_bg,
    "wg": wg,
    "wg_add": wg_add,
    "wg_done": wg_done,
    "wg_go": wg_go,
    "wg_wait": wg_wait,
    "wg_wait_bg": wg_wait_bg,
}
