"""Derived contexts that nobody holds."""
import asyncio

import anyio

from tether import Context, Key, Scope

USER: Key[str] = Key("user")


def add(ctx: Context) -> int: ...


def dropped(ctx: Context) -> None:
    ctx.with_timeout(2.0)  # error: CTX302
    ctx.with_value(USER, "ann")  # error: CTX302
    _ = ctx.with_cancel()  # error: CTX302


def inline(ctx: Context) -> int:
    return add(ctx.with_timeout(2.0))  # error: CTX302


async def others() -> None:
    asyncio.timeout(2.0)  # error: CTX302
    anyio.fail_after(2.0)  # error: CTX302


# Right:


def fine(ctx: Context) -> int:
    with ctx.with_timeout(2.0) as work:
        add(work.with_value(USER, "ann"))
    return add(ctx.without_cancel())


async def fine_too() -> None:
    async with asyncio.timeout(2.0):
        pass
    limit = asyncio.timeout(2.0)
    async with limit:
        pass


def made_here(scope: Scope) -> Scope: ...


def named(ctx: Context) -> None:
    scope = made_here(ctx.with_cancel())
    with scope:
        add(scope)


def request(session: object) -> None:
    session.with_timeout(3.0)


class Machine:
    def add(self, ctx: Context, name: str) -> None:
        self.table[name] = ctx

    def open(self, ctx: Context) -> None:
        self.add(ctx.with_cancel(), "open")
