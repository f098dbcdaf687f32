"""Scopes that are not released on some way out."""
from contextlib import ExitStack, suppress

from tether import Context, Scope, background


def never(ctx: Context) -> None:
    work = ctx.with_timeout(2.0)  # error: CTX301
    add(work)


def straight(ctx: Context) -> int:
    work = ctx.with_timeout(2.0)  # error: CTX301
    result = add(work)  # raises: the next line is not reached
    work.cancel()
    return result


def one_branch(ctx: Context, quick: bool) -> int:
    work = ctx.with_cancel()  # error: CTX301
    if quick:
        work.cancel()
        return 0
    return 1


def early(ctx: Context, rows: list[int]) -> None:
    work = ctx.with_cancel()  # error: CTX301
    for row in rows:
        if row < 0:
            return
    work.cancel()


def handler(ctx: Context) -> None:
    work = ctx.with_deadline(3.0)  # error: CTX301
    try:
        add(work)
    except ValueError:
        work.cancel()
    else:
        work.cancel()


async def in_a_task(ctx: Context) -> None:
    work = ctx.with_cancel()  # error: CTX301
    await add(work)
    work.cancel()


# Right:


def block(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        return add(work)


def later_block(ctx: Context, slow: bool) -> int:
    work = ctx.with_timeout(20.0 if slow else 2.0)
    with work:
        return add(work)


def by_hand(ctx: Context) -> int:
    work = ctx.with_cancel()
    try:
        return add(work)
    finally:
        work.cancel()


def maybe(ctx: Context, limit: float | None) -> int:
    work: Scope | None = None
    try:
        if limit:
            work = ctx.with_timeout(limit)
        return add(work or ctx)
    finally:
        if work is not None:
            work.cancel()


def stacked(ctx: Context) -> None:
    with ExitStack() as stack:
        work = ctx.with_cancel()
        stack.enter_context(work)
        add(work)


def factory(ctx: Context) -> Scope:
    work = ctx.with_cancel()
    return label(work)


def returned(ctx: Context):
    work = ctx.with_cancel()
    return work


def registered(ctx: Context, scopes: list[Scope]) -> None:
    work = ctx.with_cancel()
    scopes.append(work)


def hooked(ctx: Context, button: object) -> None:
    work = ctx.with_cancel()
    button.on_click(lambda: work.cancel())


def serve(app: object, work: Scope) -> None: ...


def given_away(ctx: Context) -> None:
    work = ctx.with_cancel()
    serve("shop", work)


class Server:
    def start(self, ctx: Context) -> None:
        root = ctx.with_cancel()
        self._root = root

    def own(self, ctx: Context) -> None:
        self._other = ctx.with_cancel()


def owner(ctx: Context) -> None:
    work = ctx.with_cancel()
    Worker(work).start()


def all_ways(ctx: Context, rows: list[int]) -> int:
    work = ctx.with_cancel()
    try:
        for row in rows:
            if row:
                return add(work)
        return 0
    except ValueError:
        return 1
    finally:
        with suppress(RuntimeError):
            work.cancel()


root = background().with_cancel()  # of the module: as long as the program


def values(ctx: Context) -> None:
    named = ctx.with_value(NAME, 1)
    add(named)


def ends_with_its_parent(ctx: Context) -> None:
    with ctx.with_cancel() as parent:
        child = parent.with_timeout(2.0)
        try:
            add(child)
        finally:
            parent.cancel()
