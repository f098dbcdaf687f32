"""gather and the first error."""
import asyncio
from asyncio import gather


async def page() -> None:
    await asyncio.gather(load(1), load(2))  # error: CTX402
    await gather(load(1), load(2), load(3))  # error: CTX402


# Right:


async def fine(tasks: list[object]) -> None:
    await asyncio.gather(load(1), load(2), return_exceptions=True)
    await asyncio.gather(load(1))
    await asyncio.gather(*tasks)


async def own(gather_all: object) -> None:
    await gather_all.gather(load(1), load(2))
