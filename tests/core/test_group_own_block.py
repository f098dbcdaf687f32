"""Pieces of a group whose task opens no block: that of the piece is one all the same.

Most tasks of a group are like that, and made to cost little. Here each asks for what
the block of a piece is there for.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine

import pytest

from tests.core.support import LONG
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    Group,
    WaitGroup,
    background,
    to_thread,
)


class Boom(Exception):
    pass


async def fail(ctx: Context) -> None:
    await asyncio.sleep(0)
    raise Boom


async def check(ctx: Context) -> None:
    ctx.check()
    await asyncio.sleep(0)


async def sleep(ctx: Context) -> None:
    await ctx.sleep_async(LONG)


async def open_a_block(ctx: Context) -> None:
    with ctx.with_timeout(LONG):
        await asyncio.sleep(LONG)


@pytest.mark.parametrize("attempt", [check, sleep, open_a_block])
@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_a_piece_cannot_take_its_end_for_that_of_an_attempt(
    run: Run,
    attempt: Callable[[Context], Coroutine[object, None, None]],
    seconds: float,
) -> None:
    rounds = []

    async def retry(ctx: Context) -> None:
        while True:
            try:
                await attempt(ctx)
            except ContextError:
                rounds.append(ctx)
                assert len(rounds) < 5

    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            async with Group(background().with_timeout(seconds)) as group:
                handle = group.go(retry)
        assert isinstance(handle.error, DeadlineExceeded)

    run(main)
    assert not rounds


def test_a_piece_that_waits_for_a_thread_gets_the_result_first(run: Run) -> None:
    go_on = threading.Event()
    got = []

    def work(ctx: Context) -> str:
        assert go_on.wait(LONG)
        return "result"

    async def child(ctx: Context) -> None:
        got.append(await to_thread(ctx, work))
        await asyncio.sleep(LONG)

    async def main() -> None:
        with pytest.raises(Boom):
            async with Group() as group:
                handle = group.go(child)
                group.go(fail)
                group.ctx.after_func(go_on.set)
        assert isinstance(handle.error, Canceled)

    run(main)
    assert got == ["result"]


def test_a_piece_can_drain_what_outlives_it_by_its_own_context(run: Run) -> None:
    async def forever(ctx: Context) -> None:
        await asyncio.sleep(LONG)

    async def drain(ctx: Context, other: WaitGroup) -> list[str]:
        return await other.drain_async(ctx)

    async def main() -> list[str]:
        other = WaitGroup(background())
        other.go(forever)
        with pytest.raises(Boom):
            async with Group() as group:
                handle = group.go(drain, other)
                group.go(fail)
        await other.wait_async()
        return handle.result()

    (name,) = run(main)
    assert name.endswith("forever")


def test_each_piece_has_a_time_of_its_own(run: Run) -> None:
    async def forever(ctx: Context) -> None:
        await asyncio.sleep(LONG)

    async def main() -> None:
        async with WaitGroup(timeout=0.001) as crew:
            handles = [crew.go(forever) for _ in range(3)]
        for handle in handles:
            assert isinstance(handle.error, DeadlineExceeded)
            assert handle.error.ctx is not crew.ctx
        assert len(crew.errors) == 3

    run(main)


def test_pieces_in_several_loops_are_ended_from_a_thread() -> None:
    crew = WaitGroup(background())
    ready = threading.Semaphore(0)
    handles = []

    async def child(ctx: Context) -> None:
        ready.release()
        await asyncio.sleep(LONG)

    async def main() -> None:
        mine = [crew.go(child) for _ in range(3)]
        handles.extend(mine)
        for handle in mine:
            with pytest.raises(Canceled):
                await handle.wait_async()

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        assert ready.acquire(timeout=LONG)
    assert len(crew.drain(background().with_timeout(0))) == 6
    for thread in threads:
        thread.join(LONG)
    assert len(handles) == 6
    assert all(isinstance(handle.error, Canceled) for handle in handles)


def test_the_context_of_a_piece_is_kept_by_nobody(run: Run) -> None:
    refs: list[weakref.ref[Context]] = []

    async def child(ctx: Context) -> None:
        refs.append(weakref.ref(ctx))
        await asyncio.sleep(0)

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            with background().with_timeout(LONG) as budget:
                crew = WaitGroup(budget)
                crew.go_with(budget, child)
                await crew.wait_async()
                await asyncio.sleep(0)
                assert [ref() for ref in refs] == [None]
        finally:
            gc.enable()

    run(main)
