"""tenacity: retries with back-off, as a loop and as a decorator."""

from __future__ import annotations

import asyncio

from tenacity import (
    AsyncRetrying,
    retry,
    stop_after_attempt,
    wait_exponential,
    wait_fixed,
)

from bench.packages._operation import Operation

PACKAGE = "tenacity"


async def loop() -> None:
    tries = 0
    async for attempt in AsyncRetrying(
        stop=stop_after_attempt(5), wait=wait_exponential(max=60.0)
    ):
        with attempt:
            tries += 1
            await asyncio.sleep(0.1)
            if tries < 4:
                raise OSError("try again")


async def decorated() -> None:
    tries = 0

    @retry(stop=stop_after_attempt(3), wait=wait_fixed(1.0))
    async def call() -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.1)
        if tries < 3:
            raise OSError("try again")

    await call()


OPERATIONS = [
    Operation("AsyncRetrying", loop, limit=600.0),
    Operation("retry", decorated, limit=600.0),
]
