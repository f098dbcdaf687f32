"""Detached work with the request's context."""
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from fastapi import BackgroundTasks

from tether import Context, WaitGroup

pool = ThreadPoolExecutor(4)
detached = WaitGroup(timeout=10.0)


async def pay(ctx: Context, order: int) -> None:
    asyncio.create_task(capture(ctx, order))  # error: CTX701


def mail(ctx: Context, order: int) -> None:
    threading.Thread(target=send, args=(ctx, order)).start()  # error: CTX701
    pool.submit(send, ctx, order)  # error: CTX701


async def order(ctx: Context, background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(send, ctx)  # error: CTX701


async def scoped(ctx: Context, order: int) -> None:
    with ctx.with_timeout(2.0) as budget:
        asyncio.ensure_future(capture(budget, order))  # error: CTX701


# Right:


async def fine(ctx: Context, order: int) -> None:
    detached.go_with(ctx, capture, order)
    asyncio.create_task(capture(ctx.without_cancel().with_timeout(10.0), order))
    own = ctx.without_cancel()
    asyncio.create_task(capture(own.with_timeout(10.0), order))
    task = asyncio.create_task(capture(ctx, order))
    await task


async def no_ctx(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(send, 1)
