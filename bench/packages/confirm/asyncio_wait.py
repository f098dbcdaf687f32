"""asyncio.wait and as_completed: as documented, what they wait for is not canceled."""

from __future__ import annotations

import asyncio


async def shown() -> str:
    """What goes on."""
    child = asyncio.create_task(asyncio.sleep(10.0))
    task = asyncio.create_task(asyncio.wait({child}))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    goes_on = not child.done()
    child.cancel()
    return "wait() is canceled, and the task that it waits for goes on" * goes_on


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing goes on")
