"""The two ways to play a script: waiting in threads, and waiting on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, TypeVar

from tests.conformance.work import Work
from tests.conformance.world import Way
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

    def start(
        self,
        what: str,
        in_thread: Callable[[], None],
        in_task: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self._work.start(what, in_thread)

    def wait(
        self,
        name: str,
        ctx: Context,
        seconds: float | None,
        woke: Callable[[bool], None],
    ) -> None:
        self._work.start(f"waiter {name}", lambda: woke(ctx.wait(seconds)))


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

        self._start(f"waiter {name}", waiter)

    def start(
        self,
        what: str,
        in_thread: Callable[[], None],
        in_task: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        self._start(what, in_task)

    def _start(
        self, what: str, in_task: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        token = self._work.began(what)

        async def work() -> None:
            failure = None
            try:
                await in_task()
            except Exception as exc:
                failure = exc
            self._work.ended(token, failure)

        task = asyncio.get_running_loop().create_task(work(), name=what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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
