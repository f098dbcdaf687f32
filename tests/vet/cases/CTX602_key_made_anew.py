"""Keys that are new at each call."""
from tether import Context, Key

USER: Key[str] = Key("user")


def user(ctx: Context) -> object:
    return ctx.value(Key("user"))  # error: CTX602


def login(ctx: Context, name: str) -> None:
    key: Key[str] = Key("name")  # error: CTX602
    page(ctx.with_value(key, name))


# Right:


class Plugin:
    KEY: Key[int] = Key("plugin")

    def __init__(self) -> None:
        self.key: Key[int]
        self.key = Key("of this plugin")


def make_key(name: str) -> Key[str]:
    return Key(name)


def both(ctx: Context) -> object:
    key: Key[str] = Key("own")
    return ctx.with_value(key, "a").value(key)
