"""Clean-up with the context that has ended."""
from tether import Context, WaitGroup, background


def serve(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait()
    with ctx.with_timeout(30.0) as grace:  # error: CTX903
        workers.drain(grace)


async def in_a_task(ctx: Context, workers: WaitGroup) -> None:
    await ctx.wait_async()
    await workers.drain_async(ctx)  # error: CTX903


# Right:


def own(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait()
    with background().with_timeout(30.0) as grace:
        workers.drain(grace)


def values(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait()
    with ctx.without_cancel().with_timeout(30.0) as grace:
        workers.drain(grace)


def pause(ctx: Context, workers: WaitGroup) -> None:
    ctx.wait(0.5)
    workers.drain(ctx)


def asked(ctx: Context, workers: WaitGroup) -> None:
    if ctx.wait():
        workers.drain(ctx)
