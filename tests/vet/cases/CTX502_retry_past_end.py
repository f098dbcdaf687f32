"""Retry loops that catch the end."""
from tether import Canceled, Context, ContextError, DeadlineExceeded


def deliver(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except Exception:  # error: CTX502
            log.warning("once more")


def attempts(ctx: Context, message: str) -> None:
    for attempt in range(3):
        try:
            return send(ctx, message)
        except (OSError, TimeoutError):  # error: CTX502
            continue


def canceled(ctx: Context) -> None:
    while True:
        try:
            step(ctx)
        except Canceled:  # error: CTX502
            pass


def own_budget_in_a_thread(ctx: Context, message: str) -> None:
    while True:
        try:
            with ctx.with_timeout(0.8) as attempt:
                return send(attempt, message)
        except DeadlineExceeded:  # error: CTX502
            log.warning("once more")


# Right:


def sleeps(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except Exception:
            log.warning("once more")
        ctx.sleep(0.05)


def lets_pass(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except ContextError:
            raise
        except Exception:
            log.warning("once more")


def other_error(ctx: Context, message: str) -> None:
    while True:
        try:
            return send(ctx, message)
        except ValueError:
            log.warning("once more")


def looks(ctx: Context, message: str) -> None:
    while not ctx.done():
        try:
            return send(ctx, message)
        except Exception:
            log.warning("once more")


async def own_budget(ctx: Context, message: str) -> None:
    while True:
        try:
            with ctx.with_timeout(0.8) as attempt:
                return await send(attempt, message)
        except DeadlineExceeded:
            log.warning("once more")


async def in_a_task(ctx: Context, message: str) -> None:
    while True:
        try:
            return await send(ctx, message)
        except Exception:
            log.warning("once more")


def no_loop(ctx: Context) -> None:
    try:
        step(ctx)
    except Exception:
        log.warning("failed")
