"""Work beside a group."""
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from tether import Context, Group

pool = ThreadPoolExecutor(4)


async def page(ctx: Context) -> None:
    user = asyncio.create_task(load(ctx))  # error: CTX401
    await asyncio.ensure_future(load(ctx))  # error: CTX401
    await user


def crunch(ctx: Context) -> None:
    thread = threading.Thread(target=work)  # error: CTX401
    thread.start()
    future = pool.submit(work)  # error: CTX401
    future.result(1.0)


# Right:


async def grouped(ctx: Context) -> None:
    async with Group(ctx) as group:
        group.go(load)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load(ctx))


def bound(ctx: Context) -> None:
    future = pool.submit(ctx.bind(work))
    future.result(1.0)


async def no_ctx() -> None:
    task = asyncio.create_task(load(None))
    await task


async def watched(ctx: Context, conn: object) -> object:
    watch = asyncio.create_task(unblock(ctx, conn))
    try:
        return await conn.read()
    finally:
        watch.cancel()
        await asyncio.wait([watch])


async def waited_for(ctx: Context) -> None:
    workers = [asyncio.create_task(load(ctx)) for _ in range(3)]
    try:
        await serve(ctx)
    finally:
        await asyncio.wait(workers)
