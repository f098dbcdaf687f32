"""tether.ext.subprocess in tasks, with real processes."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.ext.processes import PATIENCE, TREE, Watch, python
from tests.loops import Run
from tether import Canceled, Context, DeadlineExceeded, Group, Scope, background
from tether._to_thread import running
from tether.ext.subprocess import Ended, run_async


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path)
    yield watch
    watch.kill()


async def tree(ctx: Context, watch: Watch) -> None:
    """A tree that runs until it is ended."""
    await run_async(
        ctx, ["sh", "-c", f"echo out; {TREE}"], env=watch.env, capture_output=True
    )


@asynccontextmanager
async def ticking() -> AsyncIterator[list[int]]:
    """A loop that turns all the time: what blocks it shows in the count."""
    ticks = [0]

    async def tick() -> None:
        while True:
            ticks[0] += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    try:
        yield ticks
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_a_result_is_awaited(run: Run) -> None:
    async def main() -> None:
        text: subprocess.CompletedProcess[str] = await run_async(
            background(), ["cat"], input="in", text=True, capture_output=True
        )
        assert (text.returncode, text.stdout, text.stderr) == (0, "in", "")
        raw: subprocess.CompletedProcess[bytes] = await run_async(
            background(), ["cat"], input=b"in", stdout=subprocess.PIPE
        )
        assert raw.stdout == b"in"
        with pytest.raises(subprocess.CalledProcessError):
            await run_async(background(), ["false"], check=True)
        with pytest.raises(FileNotFoundError):
            await run_async(background(), ["no-such-program-anywhere"])
        with pytest.raises(TypeError, match="with_timeout"):
            await run_async(background(), ["true"], timeout=1.0)  # type: ignore[call-overload]

    run(main)


def test_the_end_of_a_block_ends_the_tree(run: Run, watch: Watch) -> None:
    async def main() -> None:
        async with ticking() as ticks:
            with pytest.raises(Canceled) as caught:
                with background().with_cancel() as ctx:
                    watch.then(ctx.cancel)
                    await tree(ctx, watch)
            assert watch.alive() == []
            ended = Ended.of(caught.value)
            assert ended is not None
            assert ended.stdout == b"out\n"
            assert ticks[0] > 3

    run(main)


def test_the_end_of_a_context_that_is_no_block_ends_the_tree(
    run: Run, watch: Watch
) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        watch.then(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            await tree(ctx, watch)
        assert watch.alive() == []
        assert isinstance(caught.value.__cause__, Ended)
        assert caught.value.ctx is ctx

    run(main)


def test_the_end_of_another_block_ends_the_tree(run: Run, watch: Watch) -> None:
    async def main() -> None:
        with pytest.raises(Canceled) as caught:
            with background().with_cancel() as outer:
                watch.then(outer.cancel)
                await tree(background(), watch)
        assert watch.alive() == []
        assert caught.value.ctx is outer
        assert Ended.of(caught.value) is not None

    run(main)


def test_an_inner_handler_does_not_take_the_outer_end(run: Run, watch: Watch) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.2) as outer:
                with outer.with_timeout(PATIENCE) as inner:
                    try:
                        await tree(inner, watch)
                    except DeadlineExceeded:
                        pytest.fail("that is the outer block's")
        assert caught.value.ctx is outer
        assert watch.alive() == []

    run(main)


def test_a_foreign_cancel_ends_the_tree(run: Run, watch: Watch) -> None:
    async def main() -> None:
        task = asyncio.create_task(tree(background(), watch))
        await asyncio.to_thread(watch.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert watch.alive() == []
        assert task.cancelled()
        assert Ended.of(caught.value) is not None

    run(main)


def test_asyncios_timeout_ends_the_tree(run: Run, watch: Watch) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.2):
                await tree(background(), watch)
        assert not isinstance(caught.value, DeadlineExceeded)
        assert watch.alive() == []

    run(main)


def test_anyios_timeout_ends_the_tree(run: Run, watch: Watch) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.2) as scope:
            await tree(background(), watch)
        assert scope.cancelled_caught
        assert watch.alive() == []
        with pytest.raises(DeadlineExceeded):
            with anyio.fail_after(PATIENCE), background().with_timeout(0.2) as ctx:
                await tree(ctx, watch)
        assert watch.alive() == []

    run(main)


def test_a_second_cancel_does_not_leave_it_alone(run: Run, watch: Watch) -> None:
    """Whoever cannot wait is not let go before the tree is gone."""
    deaf = "trap '' TERM; echo > \"$READY\"; sleep 600 & wait; wait"

    async def main() -> None:
        task = asyncio.create_task(
            run_async(background(), ["sh", "-c", deaf], env=watch.env, grace=PATIENCE)
        )
        await asyncio.to_thread(watch.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        watch.kill()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watch.alive() == []

    run(main)


def test_what_ended_by_itself_is_handed_over(run: Run) -> None:
    """The loop is too busy to hear of it before its block ends."""
    seen: list[bytes] = []

    async def job(outer: Scope) -> None:
        with outer:
            done = await run_async(background(), ["echo", "x"], capture_output=True)
            seen.append(done.stdout)
            await asyncio.sleep(PATIENCE)

    async def main() -> None:
        outer = background().with_cancel()
        task = asyncio.create_task(job(outer))
        while not running():
            await asyncio.sleep(0)
        while running():
            time.sleep(0.001)
        outer.cancel()
        with pytest.raises(Canceled):
            await task
        assert seen == [b"x\n"]

    run(main)


def test_a_group_ends_the_siblings(run: Run, watch: Watch) -> None:
    async def fails(ctx: Context) -> None:
        await asyncio.to_thread(watch.wait)
        raise KeyError

    async def main() -> None:
        with pytest.raises(KeyError):
            async with Group() as group:
                group.go(tree, watch)
                group.go(fails)
        assert watch.alive() == []

    run(main)


def test_nothing_is_started_when_it_is_over(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        ctx = background().with_cancel()
        ctx.cancel()
        with pytest.raises(Canceled):
            await run_async(ctx, ["touch", str(tmp_path / "started")])
        with pytest.raises(Canceled):
            with background().with_cancel() as block:
                block.cancel()
                await run_async(block, ["touch", str(tmp_path / "started")])
        assert not (tmp_path / "started").exists()

    run(main)


def test_many_run_side_by_side(run: Run) -> None:
    async def main() -> None:
        codes = await asyncio.gather(
            *(run_async(background(), python(f"exit({code})")) for code in range(6))
        )
        assert [done.returncode for done in codes] == [*range(6)]

    run(main)
