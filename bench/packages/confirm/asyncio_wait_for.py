"""asyncio.wait_for until 3.11: a cancel is lost if the result has just come."""

from __future__ import annotations

import asyncio


async def shown() -> str:
    """What is lost."""
    future = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        await asyncio.wait_for(future, 10.0)
        return "the task goes on as if it had not been canceled"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    future.set_result(None)
    task.cancel()
    await asyncio.wait({task})
    return "" if task.cancelled() else task.result()


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
