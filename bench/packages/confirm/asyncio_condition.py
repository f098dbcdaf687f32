"""asyncio.Condition until 3.12: the notify for a canceled task is lost."""

from __future__ import annotations

import asyncio


async def shown() -> str:
    """What is lost."""
    condition = asyncio.Condition()
    woken: list[str] = []

    async def wait(name: str) -> None:
        async with condition:
            await condition.wait()
            woken.append(name)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(wait("first"))
        await asyncio.sleep(0)
        second = group.create_task(wait("second"))
        await asyncio.sleep(0)
        async with condition:
            condition.notify(1)
        first.cancel()  # it has been woken, and has not gone on yet
        await asyncio.sleep(0.01)
        second.cancel()
    return "" if woken else "one notify, two tasks wait, none is woken"


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing is lost")
