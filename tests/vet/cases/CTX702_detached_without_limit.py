"""Detached and unlimited."""
from tether import Context, WaitGroup


def capture(ctx: Context, order: int) -> None:
    charge(ctx.without_cancel(), order)  # error: CTX702


def named(ctx: Context, order: int) -> None:
    own = ctx.without_cancel()  # error: CTX702
    charge(own, order)


# Right:


def limited(ctx: Context, order: int) -> None:
    with ctx.without_cancel().with_timeout(10.0) as own:
        charge(own, order)
    free = ctx.without_cancel()
    with free.with_timeout(10.0) as own:
        charge(own, order)
    with free.with_deadline(1000.0):
        pass


def owned(ctx: Context) -> None:
    with WaitGroup(ctx.without_cancel(), timeout=10.0) as group:
        group.go(charge)


def values_of(ctx: Context) -> Context:
    return ctx.without_cancel()


class Job:
    def __init__(self, ctx: Context) -> None:
        self.values = ctx.without_cancel()


async def shielded(ctx: Context) -> None:
    with ctx.without_cancel().with_cancel():
        await put_back()
