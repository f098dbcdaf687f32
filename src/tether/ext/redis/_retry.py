"""The retries of a connection: none when the context is over.

All that redis-py does on a connection (commands, pipelines, subscriptions, health
checks, connecting) it does through the connection's `Retry`. So here is where a call
begins, and where its error becomes the context's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, final

from tether import Context, current
from tether._calls import can_end, translating
from tether._loops import refuse_to_block

from ._library import redis

T = TypeVar("T")

BROKEN = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)


def may_be_ours(exc: Exception) -> bool:
    """Whether the end of a context can have caused it."""
    if isinstance(exc, redis.exceptions.ResponseError):
        return str(exc).startswith("UNBLOCKED")
    return isinstance(exc, BROKEN)


class _Over(Exception):
    """An error that nobody tries again after, because the context is over."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@final
class Retry:
    """Stands for a connection's `Retry`."""

    def __init__(self, inner: Any) -> None:
        self._inner = copy.copy(inner)
        self._inner._backoff = _Backoff(inner._backoff)
        self._depth = 0  # a command may have to connect first

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_inner":  # asked for by copy
            raise AttributeError(name)
        return getattr(self._inner, name)

    def call_with_retry(
        self, do: Callable[[], T], fail: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> T:
        """What redis-py calls."""
        ctx = current()
        if not can_end(ctx):
            return self._inner.call_with_retry(do, fail, *args, **kwargs)  # type: ignore[no-any-return]
        once = _Once(ctx, do).call

        def retrying() -> T:
            done: T = self._inner.call_with_retry(once, fail, *args, **kwargs)
            return done

        return self._guard(ctx, retrying)

    def call(self, do: Callable[[], T]) -> T:
        """The same for what redis-py tries once, or again in parts."""
        ctx = current()
        return self._guard(ctx, _Once(ctx, do).call) if can_end(ctx) else do()

    def _guard(self, ctx: Context, do: Callable[[], T]) -> T:
        if not self._depth:
            refuse_to_block("a command of redis.Redis", "redis.asyncio")
            ctx.check()
        self._depth += 1
        try:
            return do()
        except _Over as over:
            error = over.error
        finally:
            self._depth -= 1
        try:
            if self._depth:
                raise error
            with translating(ctx, (Exception,)):
                raise error
        finally:
            del error


@final
class _Once:
    """A call that may be made again, as long as its context lasts."""

    def __init__(self, ctx: Context, do: Callable[[], Any]) -> None:
        self._ctx = ctx
        self._do = do
        self._last: Exception | None = None

    def call(self) -> Any:
        last, self._last = self._last, None
        if last is not None and self._ctx.done():  # in the pause before this attempt
            raise _Over(last)
        try:
            return self._do()
        except Exception as exc:
            if may_be_ours(exc) and self._ctx.done():
                raise _Over(exc) from None
            self._last = exc
            raise


@final
class _Backoff(redis.backoff.AbstractBackoff):
    """Pauses by itself, and not beyond the end of the context."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def reset(self) -> None:
        self._inner.reset()

    def compute(self, failures: int) -> float:
        pause: float = self._inner.compute(failures)
        ctx = current()
        if pause <= 0 or not can_end(ctx):
            return pause
        ctx.wait(pause)
        return 0.0
