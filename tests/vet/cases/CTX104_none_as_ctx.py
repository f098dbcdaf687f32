"""None instead of a context."""
from tether import Context, Semaphore, current, wait_for
from tether.ext.sqlite import fetch_one


def charge(ctx: Context, amount: int) -> None: ...


def hint(ctx: Context | None = None) -> None: ...  # error: CTX104


def pay(ctx: Context, conn: object) -> None:
    charge(None, 3)  # error: CTX104
    fetch_one(None, conn, "select 1")  # error: CTX104
    charge(ctx=None, amount=3)  # error: CTX104


# Right:


def fine(ctx: Context) -> None:
    charge(ctx, 3)
    print(None)


def _park(ctx: Context | None = None) -> None: ...


class Handle:
    def wait(self, ctx: Context | None = None) -> None: ...


class Group:
    def __init__(self, ctx: Context | None = None) -> None: ...


def note(what: str, ctx: Context | None = None) -> None:
    print((ctx or current()).label, what)
