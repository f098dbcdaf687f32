"""Several event loops, each in a thread of its own, at the same time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.loops import Run
from tests.stress.rounds import LONG, SCALE, Crew
from tether import DeadlineExceeded, background

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
