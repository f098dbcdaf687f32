"""Keys that are no keys."""
from tether import Context, Key, current

USER: Key[str] = Key("user")


def login(ctx: Context, user: str) -> None:
    page(ctx.with_value("user", user))  # error: CTX601
    page(ctx.with_value(str, user))  # error: CTX601
    current().value("user")  # error: CTX601
    ctx.value(1)  # error: CTX601


# Right:


def fine(ctx: Context, user: str, table: object) -> None:
    page(ctx.with_value(USER, user))
    ctx.value(USER, "nobody")
    table.value("user")
    table.with_value("user", 1)
