"""Handle: what asyncio's tasks and concurrent's futures offer for results."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import (
    Canceled,
    Context,
    DeadlineExceeded,
    Group,
    WaitGroup,
    background,
)


class Boom(Exception):
    pass


async def give(ctx: Context, value: int) -> int:
    await asyncio.sleep(0)
    return value


async def fail(ctx: Context) -> int:
    await asyncio.sleep(0)
    raise Boom("bad")


def test_wait_gives_the_result_or_raises_the_error(run: Run) -> None:
    async def main() -> None:
        async with WaitGroup() as group:
            good, bad = group.go(give, 3), group.go(fail)
            assert await good.wait_async() == 3
            with pytest.raises(Boom):
                await bad.wait_async()
            assert good.done()
            assert isinstance(bad.error, Boom)
            assert good.error is None
            assert await asyncio.to_thread(good.wait) == 3

    run(main)


def test_many_wait_for_one(run: Run) -> None:
    async def main() -> None:
        async with Group() as group:
            handle = group.go(give, 7)
            results = await asyncio.gather(*(handle.wait_async() for _ in range(100)))
        assert results == [7] * 100

    run(main)


def test_a_wait_ends_with_its_context_and_the_work_goes_on(run: Run) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def later(ctx: Context) -> str:
            await go_on.wait()
            return "done"

        async with Group() as group:
            handle = group.go(later)
            given = background().with_timeout(0.001)
            with pytest.raises(DeadlineExceeded) as caught:
                await handle.wait_async(given)
            assert caught.value.ctx is given
            with pytest.raises(DeadlineExceeded):
                await handle.wait_async(given)
            with pytest.raises(DeadlineExceeded):
                await asyncio.to_thread(handle.wait, given)
            go_on.set()
        assert handle.result() == "done"

    run(main)


def test_a_cancel_wakes_a_thread_that_waits_for_work() -> None:
    go_on = threading.Event()
    group = WaitGroup()
    handle = group.go(lambda ctx: go_on.wait(LONG))
    with background().with_cancel() as ctx:
        waiting = start(handle.wait, ctx)
        ctx.cancel()
        with pytest.raises(Canceled):
            waiting.result(LONG)
    go_on.set()
    assert handle.wait() is True


def test_a_cancel_of_who_waits_leaves_the_work_alone(run: Run) -> None:
    async def main() -> None:
        async with Group() as group:
            handle = group.go(give, 7)
            waiting = asyncio.ensure_future(handle.wait_async())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert handle.result() == 7

    run(main)


def test_it_says_whose_it_is(run: Run) -> None:
    async def main() -> None:
        async with WaitGroup(limit=1) as group:
            first, second = group.go(give, 1), group.go(fail)
            assert repr(first) == "<Handle of give: running>"
            assert repr(second) == "<Handle of fail: queued>"
        assert repr(first) == "<Handle of give: done>"
        assert repr(second) == "<Handle of fail: done with an error>"
        assert (first.name, second.name) == ("give", "fail")
        assert isinstance(second.error, Boom)

    run(main)


def test_raising_an_error_again_does_not_grow_its_traceback(run: Run) -> None:
    async def main() -> None:
        async with WaitGroup() as group:
            handle = group.go(fail)
        lengths = []
        for _ in range(5):
            with pytest.raises(Boom) as caught:
                handle.result()
            trace, length = caught.value.__traceback__, 0
            while trace is not None:
                trace, length = trace.tb_next, length + 1
            lengths.append(length)
        assert len(set(lengths)) == 1

    run(main)


def test_a_failed_handle_leaves_no_cycle(run: Run) -> None:
    class Local:
        pass

    def holds_in_thread(ctx: Context) -> None:
        local = Local()
        refs.append(weakref.ref(local))
        raise Boom

    async def holds(ctx: Context) -> None:
        holds_in_thread(ctx)

    async def holds_later(ctx: Context) -> None:
        await asyncio.sleep(0)
        holds_in_thread(ctx)

    refs: list[weakref.ref[Local]] = []

    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            for fn in (holds, holds_later, holds_in_thread):
                async with WaitGroup() as group:
                    handle = group.go_with(background(), fn)
                try:
                    handle.result()
                except Boom:
                    assert refs[-1]() is not None  # the traceback has it
                del handle
                assert refs[-1]() is None, fn
        finally:
            gc.enable()

    run(main)
