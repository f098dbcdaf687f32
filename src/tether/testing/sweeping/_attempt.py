"""One run of a coroutine function: on fresh state, ended at one place, then judged.

The oracle, in this order: it ends; it ends as canceled, or it finishes; no task of it
goes on; the same operation works again on the same state; the user's check holds. What
else is left behind is seen when the loop has been closed (see `_sweep`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from typing import Any, final

from ... import _clock, _loops
from ..._awaits import coro_of
from ..._errors import ContextError, DeadlineExceeded
from ..._roots import background
from ..._scope import Scope
from ..._tree import End
from ..leaks import _chains
from ..leaks._patience import pauses
from ._case import Case
from ._drive import drive, driving_children, seen_by
from ._places import Cut, Means, Moment, Place, site
from ._telling import Telling
from ._trace import AGAIN, Kind, Trace

TURNS = 8


async def attempt(case: Case, trace: Trace) -> None:
    """Run it once on fresh state, and write down in `trace` what it did."""
    stack = AsyncExitStack()
    try:
        state = await case.prepare(stack)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        await operate(lambda ctx: case.call(ctx, state), trace, case.name, case.limit)
        if not trace.unending:
            said = await _within(case.limit, case.verify(state, trace))
            if said:
                trace.add(Kind.CHECK, f"check: {said}")
    finally:
        said = await _within(case.limit, stack.aclose())
        if said:
            trace.add(Kind.LEAVING, f"leaving what setup gave: {said}")


async def _within(limit: float, work: Awaitable[str | None]) -> str | None:
    """What it says, or what goes wrong in it.

    In this task, as task groups are left in the one in which they were entered.
    """
    limited = asyncio.timeout(limit)
    try:
        async with limited:
            return await work
    except Exception as exc:
        if limited.expired():
            return f"it does not end within {limit:g} s"
        return f"{type(exc).__name__}: {exc}"


async def operate(
    call: Callable[[Scope], Any], trace: Trace, name: str, limit: float
) -> None:
    """Run it, end it at the cut, judge it, and see whether it works again."""
    before = asyncio.all_tasks()
    with driving_children(asyncio.get_running_loop()):
        knife = Knife(trace)
        task = await _run(call, name, limit, knife)
        if not task.done():
            trace.unending = True
            trace.add(Kind.ENDLESS, _endless(task, limit))
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
            return
        if trace.unending:
            _ = task.cancelled() or task.exception()  # asked for: it is told already
            return
        judge(trace, task)
        await _outliving(trace, before)
        again = await _run(call, name, limit, None)
        said = _works(again, limit)
        if said:
            trace.add(Kind.AGAIN, f"the same operation on the same state {said}")


async def _run(
    call: Callable[[Scope], Any], name: str, limit: float, knife: Knife | None
) -> asyncio.Task[Any]:
    scope = background().with_cancel(label=f"sweep of {name}")

    async def body() -> object:
        with scope:
            if knife is None:
                return await call(scope)
            result = await drive(call(scope), knife.seen)
            knife.finished()
            return result

    async def contained() -> object:
        try:
            return await body()
        except (SystemExit, KeyboardInterrupt) as exc:
            raise _Exit from exc

    token = seen_by.set(None if knife is None else knife.seen)
    try:
        # As a plain task: the driver is around the operation, inside of the block.
        task = asyncio.Task(contained(), name="the operation")
    finally:
        seen_by.reset(token)
    if knife is not None:
        knife.hold(task, scope)
    with nullcontext() if knife is None else Telling(knife.trace, scope):
        await asyncio.wait({task}, timeout=limit)
    return task


@final
class _Exit(Exception):
    """Stands for what would stop the loop, and the sweep with it."""


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    error = task.exception()
    return error.__cause__ if isinstance(error, _Exit) else error


def _endless(task: asyncio.Task[Any], limit: float) -> str:
    lines = reversed(_chains.lines(coro_of(task)))
    return f"it does not end within {limit:g} s" + "".join(
        f"\n  at {one}" for one in lines
    )


@final
class Knife:
    """Ends the operation at the place, the moment and by the means of the cut."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._cut: Cut | None = trace.cut
        self._counts: Counter[str] = Counter()
        self._task: asyncio.Task[Any] | None = None
        self._scope: Scope | None = None

    def hold(self, task: asyncio.Task[Any], scope: Scope) -> None:
        """This is the task to end, and its context."""
        self._task, self._scope = task, scope

    def seen(self, coro: object, got: object) -> None:
        """A coroutine of the operation is about to wait for `got`."""
        trace, cut = self.trace, self._cut
        where = site(coro)
        self._counts[where] += 1
        place = Place(where, self._counts[where])
        if not trace.struck:
            trace.places.append(place)
        if not asyncio.isfuture(got):
            trace.yields.add(place)
        if trace.struck:
            trace.cleanup.append(place)
            if cut is not None and place == cut.again and not trace.again:
                trace.chain += (AGAIN, *_chains.lines(coro))
                asyncio.get_running_loop().call_soon(self._strike_again)
        if cut is None or trace.reached or place != cut.place:
            return
        trace.reached = True
        trace.chain = tuple(_chains.lines(coro))
        loop = asyncio.get_running_loop()
        if cut.moment is Moment.EARLY:
            loop.call_soon(self._strike)
        elif asyncio.isfuture(got):
            got.add_done_callback(self._strike_late)

    def finished(self) -> None:
        """The operation is about to return; write down whether it ignores the end.

        That of its context interrupts it only where it still waits: it may well finish
        without having seen any.
        """
        trace, task, scope = self.trace, self._task, self._scope
        if not trace.struck or trace.cut is None:
            return
        stacks = [state.stacks.get(id(task)) for state in [*_loops.states.values()]]
        trace.ignored = trace.cut.means is Means.CANCEL or any(
            one is not None and one.task is task and scope in one._told
            for one in stacks
        )

    def _strike_late(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            self._strike()

    def _strike_again(self) -> None:
        task = self._task
        assert task is not None
        if not task.done():
            self.trace.again = True
            task.cancel()

    def _strike(self) -> None:
        task, scope, cut = self._task, self._scope, self._cut
        assert task is not None
        assert scope is not None
        assert cut is not None
        if task.done():
            return
        self.trace.struck = True
        if cut.means is Means.CANCEL:
            task.cancel()
        elif cut.means is Means.CONTEXT:
            scope.cancel()
        else:
            scope._commit(End(DeadlineExceeded, None, _clock.now()))


def judge(trace: Trace, task: asyncio.Task[Any]) -> None:
    """Whether it ended as canceled, or finished."""
    cut = trace.cut
    if task.cancelled():
        trace.outcome = "canceled"
        ours = cut is not None and cut.means is not Means.CANCEL
        if trace.struck and ours and not trace.again:
            said = "CancelledError comes out, not the context's error"
            trace.add(Kind.RAISES, said)
        return
    error = _error(task)
    if error is None:
        trace.outcome = "finished"
        if trace.ignored:
            what = "cancel" if cut is not None and cut.means is Means.CANCEL else "end"
            said = f"it swallows the {what}, and finishes as if none came"
            trace.add(Kind.SWALLOWED, said)
        return
    trace.outcome = f"raised {type(error).__name__}"
    ended = isinstance(error, ContextError) and (
        cut is not None and cut.means is not Means.CANCEL
    )
    if not ended:
        if cut is None:
            trace.error = error
        trace.add(Kind.RAISES, f"it raises {type(error).__name__}: {error}")


async def _outliving(trace: Trace, before: set[asyncio.Task[Any]]) -> None:
    me = asyncio.current_task()

    def left() -> list[asyncio.Task[Any]]:
        tasks = asyncio.all_tasks() - before
        return [task for task in tasks if task is not me]

    for pause in pauses():
        if not left():
            return
        await asyncio.sleep(pause)
    for task in left():
        lines = "".join(
            f"\n  at {line}" for line in reversed(_chains.lines(coro_of(task)))
        )
        name = getattr(coro_of(task), "__qualname__", "")
        trace.add(Kind.GOES_ON, f"a task of it goes on: {name}(){lines}")


def _works(again: asyncio.Task[Any], limit: float) -> str:
    if not again.done():
        again.cancel()
        return f"does not end within {limit:g} s"
    if again.cancelled():
        return "is canceled"
    error = _error(again)
    return "" if error is None else f"raises {type(error).__name__}: {error}"
