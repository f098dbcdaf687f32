"""A context grows in a loop."""
from tether import Context, Key

ITEM: Key[int] = Key("item")


def consume(ctx: Context, items: list[int]) -> None:
    for item in items:
        ctx = ctx.with_value(ITEM, item)  # error: CTX304
        handle(ctx)


def forever(ctx: Context) -> None:
    while True:
        ctx = ctx.with_timeout(1.0)  # error: CTX304
        handle(ctx)


# Right:


def onto(ctx: Context, values: list[tuple[Key[int], int]]) -> Context:
    for key, value in values:
        ctx = ctx.with_value(key, value)
    return ctx


def own_name(ctx: Context, items: list[int]) -> None:
    for item in items:
        with ctx.with_timeout(1.0) as step:
            handle(step.with_value(ITEM, item))


def once(ctx: Context) -> None:
    ctx = ctx.with_value(ITEM, 1)
    handle(ctx)


def anew(root: Context, items: list[int]) -> None:
    for item in items:
        ctx = root
        ctx = ctx.with_value(ITEM, item)
        handle(ctx)


def each(contexts: list[Context]) -> None:
    for ctx in contexts:
        ctx = ctx.with_value(ITEM, 1)
        handle(ctx)


def first(ctx: Context, items: list[int]) -> None:
    for item in items:
        ctx = ctx.with_value(ITEM, item)
        break
