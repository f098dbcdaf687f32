"""The library itself."""

try:
    import redis
    import redis.asyncio.sentinel
    import redis.backoff
    import redis.client
    import redis.commands.core
    import redis.lock
    import redis.sentinel
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.redis needs redis-py: pip install "tether[redis]"', name="redis"
    ) from None

__all__ = ["redis"]
