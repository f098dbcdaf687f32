"""The outer context inside the inner block."""
from tether import Context, DeadlineExceeded, Scope


def total(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as budget:
        first = add(budget)
        return first + add(ctx)  # error: CTX305


async def page(ctx: Context) -> None:
    with ctx.with_timeout(2.0, reserve=0.1) as budget:
        if await load(budget):
            await send(ctx)  # error: CTX305


# Right:


def fine(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as budget:
        detached.go_with(ctx, audit)
        left = ctx.remaining()
        with ctx.with_timeout(0.5) as other:
            add(other)
        print(ctx)
        return add(budget)


def answer(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as budget:
        try:
            return add(budget)
        except DeadlineExceeded:
            return fallback(ctx)


def after(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as budget:
        add(budget)
    return add(ctx)


def same(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as ctx:
        return add(ctx)


def later(ctx: Context) -> None:
    with ctx.with_timeout(2.0) as budget:
        register(lambda: add(ctx))
        add(budget)


def release(scope: Scope) -> None: ...


def about_the_scope(scope: Scope) -> None:
    with scope.with_timeout(2.0) as budget:
        release(scope)
        add(budget)
