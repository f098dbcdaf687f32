"""Semaphore: a weighted one, for threads and for the tasks of every loop."""

from __future__ import annotations

from types import TracebackType
from typing import final

from . import _loops
from ._checks import whole_
from ._context import Context
from ._errors import RELEASED_MORE
from ._line import Line, admit, atomic


class Semaphore:
    """At most `size` at once, counted by weight; whoever waits ends with its context.

    One semaphore serves threads and the tasks of any number of loops, strictly first
    come, first served: a large acquire at the head holds up the small ones behind it,
    so it is never starved. `held` takes and gives back; `async with` in a task:

        >>> from tether import Semaphore, background
        >>> at_most_ten = Semaphore(10)
        >>> with background().with_timeout(1.0) as ctx:
        ...     with at_most_ten.held(ctx, 4):
        ...         at_most_ten.try_acquire(7)
        False

    A weight that does not fit the whole semaphore waits for its context only, without
    holding up others. Size 0 and weight 0 are legal.
    """

    __slots__ = ("__weakref__", "_line", "_size")

    def __init__(self, size: int) -> None:
        self._size = whole_("size", size)
        self._line = Line(self._size)

    def acquire(self, ctx: Context, weight: int = 1) -> None:
        """Block this thread until `weight` is free, and take it.

        Raises `ctx`'s error if that ends first, or is over: then nothing is taken, even
        if there is room. In a task: `await acquire_async(...)`.
        """
        if _loops.running_loop() is not None:
            _loops.refuse_to_block("acquire", "await semaphore.acquire_async(ctx)")
        if weight.__class__ is not int or weight < 0:
            weight = whole_("weight", weight)
        admit("acquire", ctx)
        if not self._line.take(weight):
            self._line_for(weight).wait(ctx, weight)

    async def acquire_async(self, ctx: Context, weight: int = 1) -> None:
        """Wait in a task until `weight` is free, and take it.

        Raises as `ctx.check()` does if `ctx` ends first. A task that is canceled or
        interrupted in the turn in which it was granted gives back what it has got.
        """
        if weight.__class__ is not int or weight < 0:
            weight = whole_("weight", weight)
        admit("acquire_async", ctx)
        if not self._line.take(weight):
            await self._line_for(weight).wait_async(ctx, weight)

    def _line_for(self, weight: int) -> Line:
        # What can never be granted must not stand in the way of others.
        return self._line if weight <= self._size else Line(0)

    def try_acquire(self, weight: int = 1) -> bool:
        """Take `weight` if it is free and nobody waits; whether it did."""
        if weight.__class__ is not int or weight < 0:
            weight = whole_("weight", weight)
        return self._line.take_now(weight)

    def release(self, weight: int = 1) -> None:
        """Give `weight` back, from any thread, task, signal handler or finalizer.

        `RuntimeError` if that is more than has been acquired; then nothing changes.
        """
        if weight.__class__ is not int or weight < 0:
            weight = whole_("weight", weight)
        if not self._give_back(weight):
            raise RuntimeError(RELEASED_MORE)
        if self._line.waiting:
            self._line.pass_on()

    @atomic
    def _give_back(self, weight: int) -> bool:
        line = self._line
        if line.free + weight > self._size:
            return False
        line.free += weight
        return True

    def held(self, ctx: Context, weight: int = 1) -> Held:
        """A block that holds `weight`: `with` in a thread, `async with` in a task."""
        return Held(self, ctx, weight)

    def __repr__(self) -> str:
        line = self._line
        return f"<Semaphore {line.free} of {self._size} free, {len(line.waiting)} wait>"


@final
class Held:
    """What `Semaphore.held` returns."""

    __slots__ = ("_ctx", "_semaphore", "_weight")

    def __init__(self, semaphore: Semaphore, ctx: Context, weight: int) -> None:
        self._semaphore = semaphore
        self._ctx = ctx
        self._weight = weight

    def __enter__(self) -> None:
        if _loops.running_loop() is not None:
            _loops.refuse_to_block("held", "async with semaphore.held(ctx):")
        self._semaphore.acquire(self._ctx, self._weight)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._semaphore.release(self._weight)

    async def __aenter__(self) -> None:
        await self._semaphore.acquire_async(self._ctx, self._weight)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._semaphore.release(self._weight)
