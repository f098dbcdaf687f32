"""A scope behind its block."""
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tether import Context, Scope, WaitGroup, background


def returned(ctx: Context) -> Scope:
    with ctx.with_timeout(2.0) as work:
        return work  # error: CTX306


class Holder:
    def open(self, ctx: Context) -> None:
        with ctx.with_cancel() as work:
            self.work = work  # error: CTX306


def behind(ctx: Context) -> None:
    with ctx.with_timeout(2.0) as work:
        add(work)
    add(work)  # error: CTX306
    with work.with_cancel() as more:  # error: CTX306
        add(more)


# Right:


def looked_at(ctx: Context) -> bool:
    with ctx.with_timeout(2.0) as work:
        add(work)
    print(work)
    return work.done()


def opened(ctx: Context) -> Scope:
    return ctx.with_timeout(2.0)


def twice(ctx: Context) -> None:
    with ctx.with_timeout(2.0) as work:
        add(work)
    with ctx.with_timeout(2.0) as work:
        add(work)


def branches(ctx: Context, quick: bool) -> None:
    if quick:
        with ctx.with_timeout(2.0) as work:
            add(work)
    else:
        work = ctx
        add(work)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    with background().with_cancel() as service:
        app.state.detached = WaitGroup(service)
        yield


def referred_to(ctx: Context) -> object:
    with ctx.with_cancel() as work:
        add(work)
    return weakref.ref(work)
