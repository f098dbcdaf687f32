"""What tether keeps for a task is used again, and carries nothing over."""

from __future__ import annotations

import asyncio

import pytest

from tests.core.test_interrupt import forever, turns, undisturbed
from tests.loops import Run
from tether import Canceled, background


def test_patience_is_not_used_up_by_earlier_blocks(run: Run) -> None:
    """Whatever was held back before, the next result on its way is delivered."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def one() -> int:
            scope = background().with_cancel()
            future: asyncio.Future[int] = loop.create_future()

            def both() -> None:
                scope.cancel()
                future.set_result(1)

            loop.call_soon(both)
            with scope:
                return await future  # and out, before the look is repeated

        kept = 0
        for _ in range(1000):
            kept += await asyncio.create_task(one())
        assert kept == 1000
        await undisturbed()

    run(main)


def test_tasks_with_the_id_of_a_former_one_start_afresh(run: Run) -> None:
    async def main() -> None:
        async def interrupted() -> None:
            scope = background().with_cancel()
            asyncio.get_running_loop().call_soon(scope.cancel)
            with pytest.raises(Canceled):
                with scope:
                    await forever()

        async def left_alone() -> None:
            with background().with_timeout(60.0):
                await turns(3)

        for _ in range(100):
            await asyncio.create_task(interrupted())
            await asyncio.create_task(left_alone())

    run(main)
