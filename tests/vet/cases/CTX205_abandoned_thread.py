"""A time limit around a thread, mostly without tether."""
import asyncio
from asyncio import timeout, to_thread, wait_for

from starlette.concurrency import run_in_threadpool

import tether


async def render(path: str) -> bytes:
    async with asyncio.timeout(0.5):
        return await asyncio.to_thread(draw, path)  # error: CTX205


async def short(path: str) -> bytes:
    return await wait_for(to_thread(draw, path), 0.5)  # error: CTX205


async def pooled(path: str) -> bytes:
    loop = asyncio.get_running_loop()
    async with timeout(1):
        return await loop.run_in_executor(None, draw, path)  # error: CTX205


async def named(path: str) -> bytes:
    work = asyncio.get_running_loop().run_in_executor(None, draw, path)  # error: CTX205
    return await asyncio.wait_for(work, timeout=2.0)


async def framework(path: str) -> bytes:
    async with asyncio.timeout(1.0):
        return await run_in_threadpool(draw, path)  # error: CTX205


async def scoped(ctx: tether.Context, path: str) -> bytes:
    with ctx.with_timeout(0.5):
        return await to_thread(draw, path)  # error: CTX205


# Right:


async def handed_in(ctx: tether.Context, path: str) -> bytes:
    with ctx.with_timeout(0.5) as budget:
        await tether.to_thread(budget, draw, path)
        return await to_thread(draw, budget, path)


async def unlimited(path: str) -> bytes:
    async with asyncio.timeout(None):
        return await asyncio.to_thread(draw, path)


async def own_limit(path: str) -> bytes:
    async with asyncio.timeout(1.0):
        return await asyncio.to_thread(draw, path, timeout=1.0)


async def outside(path: str) -> None:
    data = await asyncio.to_thread(draw, path)
    async with asyncio.timeout(1.0):
        await send(data)


async def ended(process: object) -> None:
    try:
        await wait_for(to_thread(process.wait), 5.0)
    except TimeoutError:
        process.kill()
        await to_thread(process.wait)
