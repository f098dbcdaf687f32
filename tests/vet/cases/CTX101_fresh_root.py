"""A root is made where a context or a request is at hand."""
import atexit
import signal

from starlette.requests import Request

from tether import Canceled, Context, background, todo


def charge(ctx: Context, amount: int) -> None:
    with background().with_timeout(0.5) as budget:  # error: CTX101
        bank(budget, amount)


def refund(ctx: Context, amount: int) -> None:
    bank(todo(), amount)  # error: CTX101


async def get_user(request: Request) -> None:
    await load(background(), request)  # error: CTX101


def equity(ctx: Context) -> None:
    bank(background(), 1)  # error: CTX101


class Shop:
    def order(self, ctx: Context) -> None:
        def later() -> None:
            ship(background())  # error: CTX101

        later()


# Right:


def main() -> None:
    with background().with_cancel() as root:
        serve(root)


def drain(ctx: Context) -> None:
    ctx.wait()
    with background().with_timeout(30.0) as grace:  # the old one has ended
        stop_all(grace)


def roll_back(ctx: Context) -> None:
    try:
        commit(ctx)
    except Canceled:
        undo(background())
        raise
    finally:
        tidy(background())


def report(ctx: Context | None) -> None:
    write(ctx or background())


def summary(ctx: Context | None) -> None:
    if ctx is None:
        ctx = background()
    write(ctx)


def on_signal(number: int, frame: object) -> None:
    stop_all(background())


signal.signal(signal.SIGTERM, on_signal)
atexit.register(on_signal)


async def close(request: Request) -> None:
    await stop_all(background())


def asks(ctx: Context) -> bool:
    return ctx is background()
