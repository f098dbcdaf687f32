"""Locks that are not left behind by a context that ends.

A lock that was asked for when the context ended may have been given: the answer was not
awaited. And in the `finally` of a block that is over, its release must still go out. So
both are followed by what has to be done, with a little time of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tether import ContextError, Scope, current

from ._library import redis

RELEASING = 1.0  # seconds for a release whose context may be over

if TYPE_CHECKING:

    class _Base:
        """What is overridden in redis-py's locks, which are without types."""

        sleep: float
        blocking: bool
        blocking_timeout: float | None
        lua_release: Any
        redis: Any
        name: Any

        acquire: Callable[..., bool]

        def do_acquire(self, token: Any) -> bool: ...
        def do_release(self, expected_token: Any) -> None: ...

    class _AsyncBase:
        """The same in a task."""

        lua_release: Any
        redis: Any
        name: Any

        async def do_acquire(self, token: Any) -> bool: ...
        async def do_release(self, expected_token: Any) -> None: ...

else:
    from redis.asyncio.lock import Lock as _AsyncBase
    from redis.lock import Lock as _Base


def _aside() -> Scope:
    return current().without_cancel().with_timeout(RELEASING)


class Lock(_Base):
    """redis-py's lock, waited for within `current()` and released even beyond it."""

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: Any = None,
    ) -> bool:
        """Whether it is held now; the context's error if that ends first."""
        pause = self.sleep if sleep is None else sleep
        waits = self.blocking if blocking is None else blocking
        patience = (
            self.blocking_timeout if blocking_timeout is None else blocking_timeout
        )
        until = None if patience is None else time.monotonic() + patience
        while not super().acquire(blocking=False, token=token):
            if not waits:
                return False
            if until is not None and time.monotonic() + pause > until:
                return False
            current().sleep(pause)
        return True

    def do_acquire(self, token: Any) -> bool:
        try:
            return super().do_acquire(token)
        except ContextError:
            try:
                with _aside():
                    self.lua_release(keys=[self.name], args=[token], client=self.redis)
            except (ContextError, redis.exceptions.RedisError):
                pass  # as far as we can: then its own timeout ends it
            raise

    def do_release(self, expected_token: Any) -> None:
        with _aside():
            super().do_release(expected_token)


class AsyncLock(_AsyncBase):
    """The same in a task, also when that is interrupted."""

    async def do_acquire(self, token: Any) -> bool:
        try:
            return await super().do_acquire(token)
        except (ContextError, asyncio.CancelledError):
            try:
                with _aside():
                    await self.lua_release(
                        keys=[self.name], args=[token], client=self.redis
                    )
            except (ContextError, redis.exceptions.RedisError):
                pass  # as far as we can: then its own timeout ends it
            raise

    async def do_release(self, expected_token: Any) -> None:
        with _aside():
            await super().do_release(expected_token)


def lock_class(client: Any) -> type:
    """The class of the locks of a client."""
    return AsyncLock if isinstance(client, redis.asyncio.Redis) else Lock
