"""Several event loops, each in a thread of its own, at the same time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.core.support import start
from tests.loops import Run
from tests.stress.rounds import LONG, SCALE, Crew
from tether import Canceled, DeadlineExceeded, background

LOOPS = 4
WAKE_UPS = 3000

pytestmark = [pytest.mark.stress, pytest.mark.usefixtures("switching")]


def test_deadlines_in_several_loops_at_once(run: Run) -> None:
    until = time.monotonic() + 1.0 * SCALE

    async def overrun() -> None:
        while time.monotonic() < until:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.0005):
                    await asyncio.sleep(LONG)

    async def main() -> None:
        async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(overrun())

    with Crew(3) as crew:
        crew.join(crew.begin(*[lambda: run(main)] * 3))


def test_every_loop_has_its_wake_ups(run: Run) -> None:
    """An end reaches its task whatever other loops do; no loop has to complain."""

    async def main() -> int:
        interrupted = 0
        for _ in range(WAKE_UPS):
            try:
                with background().with_cancel() as scope:
                    scope.cancel()
                    await asyncio.sleep(LONG)
            except Canceled:
                interrupted += 1
        return interrupted

    loops = [start(run, main) for _ in range(LOOPS)]
    assert [one.result(LONG) for one in loops] == [WAKE_UPS] * LOOPS
