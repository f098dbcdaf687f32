"""Sleeps that no context ends."""
import asyncio
import time
from time import sleep

from tether import Context


def retry(ctx: Context) -> None:
    time.sleep(0.5)  # error: CTX204
    sleep(1)  # error: CTX204
    with ctx.with_timeout(1.0) as budget:
        time.sleep(0.5)  # error: CTX204


# Right:


async def pause(ctx: Context) -> None:
    await asyncio.sleep(0.5)  # whoever entered ctx has it interrupted


async def interrupted(ctx: Context) -> None:
    with ctx.with_timeout(1.0):
        await asyncio.sleep(0.5)


async def fine(ctx: Context) -> None:
    await ctx.sleep_async(0.5)
    await asyncio.sleep(0)
    task = asyncio.ensure_future(asyncio.sleep(1.0))
    await task


def fine_too(ctx: Context) -> None:
    ctx.sleep(0.5)


def no_ctx() -> None:
    time.sleep(0.5)


def unused(_: Context) -> None:
    time.sleep(0.5)
