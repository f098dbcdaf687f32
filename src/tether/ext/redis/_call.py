"""call, call_async: one call on a client, with a context first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from tether import Context
from tether._calls import translating, under
from tether._errors import NOT_A_CONTEXT
from tether._loops import refuse_to_block

from ._follow import is_followed
from ._library import redis
from ._retry import BROKEN

P = ParamSpec("P")
R = TypeVar("R")


def call(ctx: Context, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """What `fn(*args)` returns, a method of a client that obeys contexts, within `ctx`.

        item = call(ctx, client.blpop, "queue")
        done = call(ctx, pipeline.execute)

    The same as the call in `with ctx.with_cancel():`, for a third of the price. Raises
    the error of `ctx` when it ends, with redis-py's as its `__cause__`; nothing is sent
    if it is over.
    """
    _check(ctx, "call")
    refuse_to_block("call", "await call_async(ctx, ...)")
    pool = _pool_of(fn)
    if pool is not None and not is_followed(pool):
        raise TypeError(
            f"{fn!r} is of a client that knows no contexts; make it with follow(client)"
        )
    with translating(ctx, BROKEN), under(ctx):
        return fn(*args, **kwargs)


async def call_async(
    ctx: Context, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """What `await fn(*args)` returns, a method of a client of redis.asyncio.

        item = await call_async(ctx, client.blpop, "queue")

    When `ctx` ends, the call is interrupted and its connection closed, so that nobody
    gets its answer. Raises as `call`.
    """
    _check(ctx, "call_async")
    with translating(ctx, BROKEN), ctx.with_cancel():
        return await fn(*args, **kwargs)


def _check(ctx: object, name: str) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name=name, value=ctx))


def _pool_of(fn: Any) -> object:
    """The pool behind a method of a client, a pipeline, a subscription or a lock."""
    owner = getattr(fn, "__self__", fn)
    if isinstance(owner, redis.lock.Lock):
        owner = owner.redis
    elif isinstance(owner, redis.commands.core.Script):
        owner = owner.registered_client
    pool = getattr(owner, "connection_pool", None)
    return pool if isinstance(pool, redis.ConnectionPool) else None
