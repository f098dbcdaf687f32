"""Loops that do not notice."""
from tether import Context


def total(ctx: Context, rows: list[str]) -> int:
    result = 0
    for row in rows:  # error: CTX501
        result += score(row)
    return result


def forever(ctx: Context) -> None:
    while True:  # error: CTX501
        step()


# Right:


def polled(ctx: Context, rows: list[str]) -> None:
    for row in ctx.poll(rows, every=100):
        score(row)


def looks(ctx: Context) -> None:
    while not ctx.done():
        step()


def checks(ctx: Context, rows: list[str]) -> None:
    for row in rows:
        ctx.check()
        score(row)


def handful(ctx: Context) -> None:
    for row in ("a", "b"):
        score(row)


def sums(ctx: Context, rows: list[int]) -> int:
    result = 0
    for row in rows:
        result += row
    return result


async def in_a_task(ctx: Context, rows: list[str]) -> None:
    for row in rows:
        await send(row)
