"""aiolimiter: three through a limit of one in ten seconds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from aiolimiter import AsyncLimiter

from bench.packages._handing import in_turns
from bench.packages._operation import Operation

PACKAGE = "aiolimiter"


def limiter() -> SimpleNamespace:
    # Not by itself: a state that is a context manager is entered.
    return SimpleNamespace(limiter=AsyncLimiter(1, 10.0))


async def limited(state: SimpleNamespace) -> None:
    async def work() -> None:
        async with state.limiter:
            await asyncio.sleep(0.1)

    await in_turns(work)


OPERATIONS = [Operation("AsyncLimiter", limited, limiter, limit=300.0)]
