"""Values that can be changed."""
from tether import Context, Key

THING: Key[object] = Key("thing")


def serve(ctx: Context) -> None:
    page(ctx.with_value(THING, []))  # error: CTX604
    page(ctx.with_value(THING, {"a": 1}))  # error: CTX604
    page(ctx.with_value(THING, set()))  # error: CTX604
    page(ctx.with_value(THING, [x for x in "ab"]))  # error: CTX604


# Right:


def fine(ctx: Context) -> None:
    page(ctx.with_value(THING, ()))
    page(ctx.with_value(THING, frozenset({"a"})))
    page(ctx.with_value(THING, tuple(x for x in "ab")))
