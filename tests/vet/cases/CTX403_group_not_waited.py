"""Groups that nobody waits for."""
from tether import Context, Group, WaitGroup


def never(ctx: Context) -> None:
    group = Group(ctx)  # error: CTX403
    group.go(load)


def not_on_error(ctx: Context) -> None:
    group = WaitGroup(ctx)  # error: CTX403
    group.go(load)
    show(ctx)
    group.wait()


# Right:


def block(ctx: Context) -> None:
    with Group(ctx) as group:
        group.go(load)


def named_block(ctx: Context) -> None:
    group = Group(ctx)
    with group:
        group.go(load)


def by_hand(ctx: Context) -> None:
    group = WaitGroup(ctx)
    try:
        group.go(load)
    finally:
        group.wait()


def handed_over(ctx: Context) -> Group:
    group = Group(ctx)
    return group


class Server:
    def __init__(self) -> None:
        self.detached = WaitGroup(timeout=10.0)


detached = WaitGroup(timeout=10.0)


async def rounds(ctx: Context, days: list[str]) -> None:
    group = WaitGroup(ctx)
    for day in days:
        group.go(load)
        await group.wait_async()


def by_its_handle(ctx: Context) -> None:
    group = WaitGroup(ctx)
    handle = group.go(load)
    show(handle.wait())
