"""The two ways to play a script: waiting in threads, and waiting on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, TypeVar

from tests.conformance.work import Work
from tests.conformance.world import Way
from tether import background
from tether.testing import VirtualClock

if TYPE_CHECKING:
    from tether import Context

T = TypeVar("T")


class Threads:
    """The script in this thread, each waiter in one of its own."""

    name = "threads"

    def __init__(self, clock: VirtualClock, work: Work) -> None:
        self._clock = clock
        self._work = work

    def now(self) -> float:
        return self._clock.now()

    async def settle(self) -> None:
        self._clock.settle()

    async def advance(self, seconds: float) -> None:
        self._clock.settle()  # a waiter counts its time from the step that started it
        self._clock.advance(seconds)

    def wait(
        self,
        name: str,
        ctx: Context,
        seconds: float | None,
        woke: Callable[[bool], None],
    ) -> None:
        self._work.start(f"waiter {name}", lambda: woke(ctx.wait(seconds)))

    def beside(
        self,
        name: str,
        call: Callable[[], object],
        call_async: Callable[[], Awaitable[object]],
    ) -> None:
        self._work.start(name, call)

    async def sleep(self, seconds: float) -> None:
        background().sleep(seconds)

    async def wait_here(self, ctx: Context, seconds: float) -> bool:
        return ctx.wait(seconds)


class Asyncio:
    """The script in one task, each waiter in one of its own."""

    name = "asyncio"

    def __init__(self, clock: VirtualClock, work: Work) -> None:
        self._clock = clock
        self._work = work
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        return self._clock.now()

    async def settle(self) -> None:
        await self._clock.settle_async()

    async def advance(self, seconds: float) -> None:
        await self._clock.settle_async()
        await self._clock.advance_async(seconds)

    def wait(
        self,
        name: str,
        ctx: Context,
        seconds: float | None,
        woke: Callable[[bool], None],
    ) -> None:
        async def waiter() -> None:
            woke(await ctx.wait_async(seconds))

        self.beside(f"waiter {name}", lambda: None, waiter)

    def beside(
        self,
        name: str,
        call: Callable[[], object],
        call_async: Callable[[], Awaitable[object]],
    ) -> None:
        token = self._work.began(name)

        async def body() -> None:
            failure = None
            try:
                await call_async()
            except Exception as exc:
                failure = exc
            self._work.ended(token, failure)

        task = asyncio.get_running_loop().create_task(body(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def sleep(self, seconds: float) -> None:
        await background().sleep_async(seconds)

    async def wait_here(self, ctx: Context, seconds: float) -> bool:
        try:
            return await ctx.wait_async(seconds)
        except asyncio.CancelledError:  # interrupted by tether: the context is done
            return True


Player = Callable[[Way, Work], Coroutine[None, None, T]]


def in_threads(player: Player[T]) -> T:
    """What the player returns when it is played in threads."""
    with VirtualClock() as clock:
        work = Work()
        coroutine = player(Threads(clock, work), work)
        # No event loop: in threads every step blocks, so nothing is ever suspended.
        try:
            coroutine.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        coroutine.close()
        raise RuntimeError("a step was suspended outside of an event loop")


def on_asyncio(player: Player[T]) -> T:
    """What the player returns when it is played on an asyncio loop."""

    async def main() -> T:
        with VirtualClock() as clock:
            work = Work()
            return await player(Asyncio(clock, work), work)

    return asyncio.run(main())
