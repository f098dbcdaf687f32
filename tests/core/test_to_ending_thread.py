"""A thread whose function ends soon after its context, and the task that waits for it."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import Run
from tether import Canceled, Context, background
from tether._to_thread import running, to_ending_thread

PATIENCE = 60.0


def gives_in(ctx: Context) -> int:
    """Notices, and has a result all the same."""
    assert ctx.wait(PATIENCE)
    return 7


def says_so(ctx: Context) -> int:
    assert ctx.wait(PATIENCE)
    try:
        ctx.check()
    except Canceled as exc:
        raise exc from KeyError("what became of it")
    return 0


def fails(ctx: Context) -> int:
    assert ctx.wait(PATIENCE)
    raise ValueError


async def until_it_runs() -> None:
    while not running():
        await asyncio.sleep(0)


def test_a_result_is_handed_over_and_the_interruption_comes_next(run: Run) -> None:
    async def main() -> None:
        got = 0
        with pytest.raises(Canceled) as caught:
            with background().with_cancel() as outer:
                asyncio.get_running_loop().call_later(0.01, outer.cancel)
                got = await to_ending_thread(background(), gives_in)
                await asyncio.sleep(PATIENCE)
        assert got == 7
        assert caught.value.ctx is outer

    run(main)


def test_an_error_goes_before_an_interruption(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as outer:
            asyncio.get_running_loop().call_later(0.01, outer.cancel)
            with pytest.raises(ValueError):
                await to_ending_thread(background(), fails)

    run(main)


def test_an_interruption_comes_from_what_the_function_says(run: Run) -> None:
    async def main() -> None:
        with background().with_cancel() as outer:
            asyncio.get_running_loop().call_later(0.01, outer.cancel)
            with pytest.raises(asyncio.CancelledError) as caught:
                await to_ending_thread(background(), says_so)
            assert isinstance(caught.value.__cause__, Canceled)
            assert isinstance(caught.value.__cause__.__cause__, KeyError)
            raise caught.value

    with pytest.raises(Canceled):
        run(main)


def test_a_foreign_cancel_ends_the_function(run: Run) -> None:
    async def main() -> None:
        task = asyncio.create_task(to_ending_thread(background(), gives_in))
        await until_it_runs()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "its result was dropped" in caught.value.__notes__[0]
        assert running() == []

    run(main)


def test_a_foreign_cancel_hides_no_error(run: Run) -> None:
    async def main() -> None:
        task = asyncio.create_task(to_ending_thread(background(), fails))
        await until_it_runs()
        task.cancel()
        with pytest.raises(ValueError):
            await task

    run(main)


def test_the_end_of_its_context_is_its_own_affair(run: Run) -> None:
    async def main() -> None:
        ctx = background().with_timeout(0.01)
        assert await to_ending_thread(ctx, gives_in) == 7
        with pytest.raises(TimeoutError):
            await to_ending_thread(ctx, gives_in)

    run(main)
