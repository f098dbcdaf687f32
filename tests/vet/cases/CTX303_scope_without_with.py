"""Scopes that are released by hand."""
from tether import Context


def total(ctx: Context) -> int:
    work = ctx.with_timeout(2.0)  # error: CTX303
    try:
        first = add(work)
        return first + add(work)
    finally:
        work.cancel()


def with_handler(ctx: Context) -> int:
    work = ctx.with_cancel()  # error: CTX303
    try:
        return add(work)
    except ValueError:
        return 0
    finally:
        work.cancel()


def commented(ctx: Context) -> int:
    work = ctx.with_cancel()  # error: CTX303
    try:
        return add(work)
    finally:  # the timer
        work.cancel()


# Right:


def with_cause(ctx: Context) -> int:
    work = ctx.with_cancel()
    try:
        return add(work)
    finally:
        work.cancel(RuntimeError("done"))


def entered(ctx: Context) -> int:
    work = ctx.with_cancel()
    try:
        with work:
            return add(work)
    finally:
        work.cancel()


def block(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work)


async def ends_something_else(ctx: Context) -> None:
    work = ctx.with_cancel()
    try:
        await outlasting(add(work), work.cancel)
    finally:
        work.cancel()
