"""Several event loops at once: none gets in the way of another's wake-ups."""

from __future__ import annotations

import asyncio

import pytest

from tests.core.support import LONG, start
from tests.loops import Run
from tether import Canceled, background

pytestmark = pytest.mark.stress

LOOPS = 4
ROUNDS = 3000


def test_every_loop_has_its_wake_ups(run: Run, switching: None) -> None:
    """An end reaches its task whatever other loops do; no loop has to complain."""

    async def main() -> int:
        interrupted = 0
        for _ in range(ROUNDS):
            try:
                with background().with_cancel() as scope:
                    scope.cancel()
                    await asyncio.sleep(LONG)
            except Canceled:
                interrupted += 1
        return interrupted

    loops = [start(run, main) for _ in range(LOOPS)]
    assert [one.result(LONG) for one in loops] == [ROUNDS] * LOOPS
