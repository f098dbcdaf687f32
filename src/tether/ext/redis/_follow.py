"""follow: a client that obeys the context of whoever calls it."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

from tether._checks import seconds_

from ._async_connection import obeying_async
from ._connection import obeying
from ._library import redis
from ._locks import lock_class
from ._pool import obeying_queue

C = TypeVar("C")

GRACE = 0.25


def follow(client: C, *, grace: float = GRACE) -> C:
    """The same client, whose calls from now on end with `current()`.

        client = follow(redis.Redis.from_url("redis://cache"))

    For threads a `redis.Redis` or its pool, also one of a Sentinel; its connections are
    closed and made anew, so call it before the first use. A command that waits in the
    server (`BLPOP` and its kin) is ended there, and `grace` is how many seconds that
    may take before the connection is closed; every other call ends at once.

    A `redis.asyncio.Redis` is interrupted by a block of its task anyway. Followed, it
    ends what waits in the server there as well, so that no item is popped and lost.
    """
    seconds = max(seconds_("grace", grace), 0.0)
    pool: Any = getattr(client, "connection_pool", client)
    if isinstance(pool, redis.ConnectionPool):
        if getattr(client, "connection", None) is not None:
            raise ValueError(
                "this client has taken its connection already; follow its pool: "
                "Redis(connection_pool=follow(ConnectionPool()), "
                "single_connection_client=True)"
            )
        _obey(pool, seconds)
    elif isinstance(pool, redis.asyncio.ConnectionPool):
        _obey_async(pool, seconds)
    else:
        raise TypeError(
            "follow takes a Redis of redis or redis.asyncio, or its connection pool, "
            f"not {client!r}"
        )
    if pool is not client:
        _give_locks(client)
    return client


def is_followed(pool: object) -> bool:
    """Whether the connections of a pool obey contexts."""
    return hasattr(getattr(pool, "connection_class", None), "tether_grace")


def _obey(pool: Any, grace: float) -> None:
    pool.disconnect()
    pool.connection_class = obeying(pool.connection_class, grace)
    if isinstance(pool, redis.BlockingConnectionPool):
        pool.queue_class = obeying_queue(pool.queue_class)
    pool.reset()


def _obey_async(pool: Any, grace: float) -> None:
    if pool._available_connections or pool._in_use_connections:
        raise ValueError("this client was used already; follow it before that")
    pool.connection_class = obeying_async(pool.connection_class, grace)


def _give_locks(client: Any) -> None:
    if not isinstance(client.lock, partial):
        client.lock = partial(client.lock, lock_class=lock_class(client))
