"""anyio.Condition under asyncio's cancel: RuntimeError comes out, not CancelledError.

wait() shields taking the lock again from anyio's cancel; task.cancel() gets through.
"""

from __future__ import annotations

import asyncio

import anyio


async def shown() -> str:
    """What comes out."""
    said: list[str] = []
    for turns in range(6):  # after the notify: somewhere there it takes the lock
        condition = anyio.Condition()

        async def wait(condition: anyio.Condition) -> None:
            async with condition:
                await condition.wait()

        task = asyncio.create_task(wait(condition))
        await asyncio.sleep(0.01)
        async with condition:
            condition.notify(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        error = None if task.cancelled() else task.exception()
        if error is not None:
            said.append(f"canceled {turns} turns after notify: {error!r}")
    return "; ".join(said)


if __name__ == "__main__":
    print(asyncio.run(shown()) or "CancelledError comes out")
