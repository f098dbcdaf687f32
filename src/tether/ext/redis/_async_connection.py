"""Connections of redis.asyncio that end what waits in the server, and lose no answer.

The task is interrupted in its `await` without our help, and redis-py closes the
connection then. But an item that was on its way is lost with it. So while an answer is
awaited for which the server may wait, the end of the context is held off, and the
server is asked to come to an end: the answer is the item, or that there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tether import Context, ContextError, Scope, background, current
from tether._calls import can_end, translating

from ._commands import ASK_AGAIN, may_block
from ._library import redis
from ._retry import may_be_ours

if TYPE_CHECKING:

    class _Base:
        """What is overridden in redis-py's connections, which are without types."""

        is_connected: bool
        send_command: Callable[..., Coroutine[Any, Any, None]]
        read_response: Callable[..., Coroutine[Any, Any, Any]]
        disconnect: Callable[..., Coroutine[Any, Any, None]]
        check_health: Callable[[], Coroutine[Any, Any, None]]
        _connect: Callable[..., Coroutine[Any, Any, None]]

else:
    _Base = object


@lru_cache(maxsize=64)
def obeying_async(kind: type, grace: float) -> type:
    """The class of connections that obey `current()`."""
    if issubclass(kind, _AsyncConnection):
        return obeying_async(kind.__mro__[2], grace)
    return type(kind.__name__, (_AsyncConnection, kind), {"tether_grace": grace})


class _AsyncConnection(_Base):
    """What is added to each kind of connection."""

    tether_grace: float
    _tether_blocks = False
    _tether_id: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tether_kwargs = kwargs
        super().__init__(*args, **kwargs)

    async def _connect(self) -> None:
        self._tether_id = None
        await super()._connect()

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        ctx = current()
        self._tether_blocks = False
        if not may_block(args) or not can_end(ctx):
            await super().send_command(*args, **kwargs)
            return
        if self.is_connected and kwargs.get("check_health", True):
            await self.check_health()  # now, so that nothing goes before it later
        if not self.is_connected or self._tether_id is None:
            self._tether_id = await self._tether_ask_id()
        kwargs["check_health"] = False
        ctx.check()
        with _held_off(ctx):  # it is short, and its answer counts
            await super().send_command(*args, **kwargs)
        self._tether_blocks = self._tether_id > 0

    async def _tether_ask_id(self) -> int:
        await super().send_command("CLIENT", "ID")
        try:
            return int(await self.read_response())
        except redis.exceptions.ResponseError:
            return 0  # not allowed to know

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        blocks, self._tether_blocks = self._tether_blocks, False
        if not blocks:
            return await super().read_response(*args, **kwargs)
        ctx = current()
        try:
            return await self._tether_outlast(ctx, args, kwargs)
        except ContextError:
            ctx.check()
            raise
        except redis.exceptions.ResponseError as exc:
            if may_be_ours(exc):
                with translating(ctx, (redis.exceptions.ResponseError,)):
                    raise
            raise

    async def _tether_outlast(self, ctx: Context, args: Any, kwargs: Any) -> Any:
        """The answer, also when `ctx` ends before it comes."""
        answered = asyncio.get_running_loop().create_future()
        aside = _held_off(ctx)
        unblock = self._tether_unblock(ctx, aside, answered)
        with aside:
            watch = asyncio.create_task(unblock)
            try:
                return await super().read_response(*args, **kwargs)
            finally:
                answered.set_result(None)
                if not ctx.done():
                    watch.cancel()
                # A request that came late would end the next command.
                await asyncio.wait([watch])

    async def _tether_unblock(
        self, ctx: Context, aside: Scope, answered: asyncio.Future[None]
    ) -> None:
        """Have the server end the command that waits there, once `ctx` is over."""
        await ctx.wait_async()
        helper: Any = None
        try:
            with background().with_timeout(self.tether_grace):
                helper = self._tether_helper()
                while not answered.done():
                    await helper.send_command(
                        "CLIENT", "UNBLOCK", self._tether_id, "ERROR"
                    )
                    await helper.read_response()
                    await asyncio.wait([answered], timeout=ASK_AGAIN)
        except (redis.exceptions.RedisError, OSError, ContextError):
            pass  # not allowed, not reachable, not in time
        finally:
            if helper is not None:
                await helper.disconnect(nowait=True)
        if not answered.done():
            aside.cancel()

    def _tether_helper(self) -> Any:
        """Another connection to the same server."""
        kwargs = {**self._tether_kwargs, "retry": None, "retry_on_error": []}
        kind = type(self)
        managed = redis.asyncio.sentinel.SentinelManagedConnection
        if isinstance(self, managed):
            del kwargs["connection_pool"]
            with_tls = isinstance(self, redis.asyncio.SSLConnection)
            kind = obeying_async(
                redis.asyncio.SSLConnection if with_tls else redis.asyncio.Connection,
                self.tether_grace,
            )
        if isinstance(self, redis.asyncio.Connection):
            kwargs |= {"host": self.host, "port": self.port}
        return kind(**kwargs)


def _held_off(ctx: Context) -> Scope:
    """A block that the end of `ctx` does not interrupt; whoever enters it ends it."""
    return ctx.without_cancel().with_cancel()
