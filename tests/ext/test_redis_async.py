"""tether.ext.redis in tasks, against a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import redis.asyncio
from redis._parsers import _AsyncHiredisParser, _AsyncRESP3Parser
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff, NoBackoff

from tests.ext.redis_proxy import Proxy
from tests.ext.redis_server import Server
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, Scope, background
from tether.ext.redis import call_async, follow

PATIENCE = 60.0
AMPLE = 10.0  # for CLIENT UNBLOCK, on a busy machine
SOON = 20.0
LONG = 600

Client = redis.asyncio.Redis
PARSERS = [_AsyncHiredisParser, _AsyncRESP3Parser]


@pytest.fixture
def plain(redis_server: Server) -> Iterator[redis.Redis]:
    """A client for threads, to look; the server is empty."""
    with redis.Redis(unix_socket_path=redis_server.path) as client:
        client.flushall()
        yield client


@asynccontextmanager
async def client_of(
    server: Server, *, followed: bool = True, grace: float = AMPLE, **options: Any
) -> AsyncIterator[Client]:
    pool = redis.asyncio.ConnectionPool(
        connection_class=redis.asyncio.UnixDomainSocketConnection,
        path=server.path,
        **options,
    )
    client = Client.from_pool(pool)
    try:
        yield follow(client, grace=grace) if followed else client
    finally:
        await client.aclose()


def blocked(plain: redis.Redis) -> int:
    info: Any = plain.info("clients")
    return int(info["blocked_clients"])


async def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


async def turns() -> None:
    """Let the loop turn until whoever has sent something has gone on to wait.

    On Python 3.11 `wait_for`, in which redis-py sends, swallows a foreign cancel that
    comes just when it is done.
    """
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def when_blocked(
    plain: redis.Redis, do: Callable[[], object]
) -> AsyncIterator[None]:
    """A block; when a command waits in the server, something is done."""

    async def act() -> None:
        await until(lambda: blocked(plain))
        await turns()
        do()

    task = asyncio.create_task(act())
    began = time.monotonic()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert time.monotonic() - began < SOON


Call = Callable[[Client], Awaitable[object]]
BLOCKING: dict[str, Call] = {
    "blpop": lambda c: c.blpop("none", timeout=0),
    "bzpopmin": lambda c: c.bzpopmin("none", timeout=LONG),
    "xread": lambda c: c.xread({"none": "$"}, block=LONG * 1000),
    "wait": lambda c: c.wait(5, 0),
}


# -- what blocks in the server -------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_results_and_errors_pass(
    run: Run, redis_server: Server, plain: redis.Redis, protocol: int
) -> None:
    async def main() -> None:
        async with client_of(redis_server, protocol=protocol) as client:
            with background().with_timeout(PATIENCE) as ctx:
                assert await client.set("key", "value")
                value: bytes | str | None = await call_async(ctx, client.get, "key")
                assert value == b"value"
                await client.rpush("list", "a")
                assert [*(await client.blpop("list", timeout=LONG) or ())] == [
                    b"list",
                    b"a",
                ]
                assert await client.blpop("none", timeout=0.01) is None
                with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                    await client.blpop("key", timeout=LONG)

    run(main)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("how", BLOCKING)
def test_what_blocks_ends_with_its_block(
    run: Run, redis_server: Server, plain: redis.Redis, how: str, parser: type
) -> None:
    async def main() -> None:
        async with client_of(redis_server, parser_class=parser) as client:
            before = await client.client_id()
            with pytest.raises(Canceled) as caught:
                with background().with_cancel() as ctx:
                    async with when_blocked(plain, ctx.cancel):
                        await BLOCKING[how](client)
            assert caught.value.ctx is ctx
            assert blocked(plain) == 0
            assert await client.client_id() == before  # healthy

    run(main)


def test_what_blocks_ends_with_the_context_given(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    async def main() -> None:
        async with client_of(redis_server) as client:
            before = await client.client_id()
            ctx = background().with_cancel()
            async with when_blocked(plain, ctx.cancel):
                with pytest.raises(Canceled) as caught:
                    await call_async(ctx, client.blpop, "none", timeout=LONG)
            assert caught.value.ctx is ctx
            with pytest.raises(Canceled):
                await call_async(ctx, client.set, "key", 1)
            assert await client.get("key") is None
            assert await client.client_id() == before

    run(main)


def test_what_blocks_ends_with_a_context_that_was_inherited(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    """A task that is started in a block has it as its current, and not around it."""

    async def main() -> None:
        async with client_of(redis_server) as client:
            scope = background().with_cancel()

            async def leave_behind() -> asyncio.Task[Any]:
                with scope.with_cancel():
                    job: Any = client.blpop("none", timeout=LONG)
                    task = asyncio.create_task(job)
                    await until(lambda: blocked(plain))
                    scope.cancel()
                    return task

            task = await leave_behind()
            with pytest.raises(Canceled):
                await task
            assert blocked(plain) == 0

    run(main)


@pytest.mark.stress
def test_no_item_is_popped_for_somebody_who_has_gone(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    rounds = 200

    async def main() -> None:
        got: list[bytes] = []
        gone = 0
        async with client_of(redis_server) as pusher, client_of(redis_server) as client:

            async def push(number: int) -> None:
                await asyncio.sleep(number % 20 * 0.0001)
                await pusher.rpush("list", number)

            for number in range(rounds):
                task = asyncio.create_task(push(number))
                try:
                    with background().with_timeout(0.001):
                        answer: Any = await client.blpop("list", timeout=LONG)
                        got.append(answer[1])
                except DeadlineExceeded:
                    gone += 1
                await task
            left: Any = await client.lrange("list", 0, -1)
        assert sorted(map(int, [*got, *left])) == [*range(rounds)]
        assert gone > 0

    run(main)


@pytest.mark.parametrize("followed", [True, False])
def test_a_foreign_cancel_leaves_nobody_waiting(
    run: Run, redis_server: Server, plain: redis.Redis, *, followed: bool
) -> None:
    async def main() -> None:
        async with client_of(redis_server, followed=followed) as client:
            with background().with_timeout(PATIENCE):
                job: Any = client.blpop("none", timeout=LONG)
                task = asyncio.create_task(job)
                async with when_blocked(plain, task.cancel):
                    with pytest.raises(asyncio.CancelledError):
                        await task
                await until(lambda: not blocked(plain))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        _ = await client.blpop("none", timeout=LONG)
                await until(lambda: not blocked(plain))
                assert await client.get("key") is None

    run(main)


def test_a_client_as_it_is_ends_with_a_block(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    async def main() -> None:
        async with client_of(redis_server, followed=False, max_connections=1) as client:
            for how in BLOCKING.values():
                with pytest.raises(Canceled):
                    with background().with_cancel() as ctx:
                        async with when_blocked(plain, ctx.cancel):
                            await how(client)
                await until(lambda: not blocked(plain))
                assert await client.get("key") is None

    run(main)


# -- other commands ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["get", "blpop", "pipeline"])
def test_a_server_that_hangs_is_left(
    run: Run, redis_server: Server, plain: redis.Redis, how: str
) -> None:
    info: Any = plain.info("server")

    async def main() -> None:
        async with client_of(redis_server, max_connections=1, grace=0.1) as client:
            await client.ping()
            os.kill(info["process_id"], signal.SIGSTOP)
            try:
                began = time.monotonic()
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(0.05):
                        if how == "pipeline":
                            async with client.pipeline() as pipe:
                                _ = pipe.get("key")
                                await pipe.execute()
                        elif how == "get":
                            await client.get("key")
                        else:
                            await client.blpop("none", timeout=LONG)
                assert time.monotonic() - began < SOON
            finally:
                os.kill(info["process_id"], signal.SIGCONT)
            assert await client.get("key") is None  # the pool of one is not dry

    run(main)


@pytest.mark.parametrize("followed", [True, False])
def test_answers_are_never_crossed(
    run: Run, redis_server: Server, plain: redis.Redis, *, followed: bool
) -> None:
    plain.set("a", "a")
    plain.set("b", "b")

    async def main() -> None:
        canceled = 0
        async with client_of(
            redis_server, followed=followed, max_connections=1
        ) as client:
            for n in range(300):
                try:
                    with background().with_timeout(n % 20 * 0.00005):
                        assert await client.get("a") == b"a"
                except DeadlineExceeded:
                    canceled += 1
                assert await client.get("b") == b"b"
        assert canceled > 0

    run(main)


def test_the_wait_for_a_connection_counts(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    async def main() -> None:
        pool = redis.asyncio.BlockingConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection,
            path=redis_server.path,
            max_connections=1,
            timeout=LONG,
        )
        client = follow(Client(connection_pool=pool))
        taken = await pool.get_connection()
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.05):
                await client.get("key")
        assert time.monotonic() - began < SOON
        await pool.release(taken)
        assert await client.get("key") is None
        await client.aclose()
        await pool.aclose()

    run(main)


def test_a_pause_before_the_next_try_ends_at_once(run: Run) -> None:
    with Proxy(None) as silent:
        port = silent.port

    async def main() -> None:
        client = follow(Client(port=port, retry=Retry(ConstantBackoff(LONG), 5)))
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.1):
                await client.get("key")
        assert time.monotonic() - began < SOON
        await client.aclose()

    run(main)


def test_redis_pys_own_errors_pass(run: Run, redis_server: Server) -> None:
    async def main() -> None:
        async with client_of(
            redis_server, socket_timeout=0.05, retry=Retry(NoBackoff(), 0)
        ) as client:
            with background().with_timeout(PATIENCE) as ctx:
                with pytest.raises(redis.TimeoutError):
                    await call_async(ctx, client.execute_command, "BLPOP", "none", LONG)

    run(main)


# -- subscriptions and locks ---------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
def test_a_subscription_outlives_its_reader(
    run: Run, redis_server: Server, plain: redis.Redis, parser: type
) -> None:
    async def main() -> None:
        async with client_of(redis_server, parser_class=parser) as client:
            async with client.pubsub(ignore_subscribe_messages=True) as messages:
                await messages.subscribe("news")
                await messages.get_message(timeout=PATIENCE)
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(0.05):
                        async for _ in messages.listen():
                            pass
                assert plain.publish("news", "first") == 1
                got = await messages.get_message(timeout=PATIENCE)
                assert got is not None
                assert got["data"] == b"first"

    run(main)


def test_a_lock_is_released_by_who_is_over(
    run: Run, redis_server: Server, plain: redis.Redis
) -> None:
    async def main() -> None:
        async with client_of(redis_server) as client:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05):
                    async with client.lock("lock"):
                        assert plain.exists("lock")
                        await asyncio.sleep(PATIENCE)
            assert not plain.exists("lock")
            plain.set("lock", "somebody's")
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05):
                    await client.lock("lock", sleep=LONG).acquire()
            assert plain.get("lock") == b"somebody's"

    run(main)


@pytest.mark.parametrize("foreign", [True, False])
def test_a_lock_that_nobody_heard_of_is_released(
    run: Run, redis_server: Server, plain: redis.Redis, *, foreign: bool
) -> None:
    """The server has given it, and the answer has not come."""

    async def take(client: Client, scope: Scope) -> None:
        with scope:
            await client.lock("lock").acquire()

    async def main(proxy: Proxy) -> None:
        client = follow(Client(port=proxy.port, retry=Retry(NoBackoff(), 0)))
        await client.ping()
        proxy.mute()
        scope = background().with_cancel()
        task = asyncio.create_task(take(client, scope))
        await asyncio.to_thread(proxy.withheld.acquire, timeout=PATIENCE)
        assert plain.exists("lock")
        await turns()
        if foreign:
            task.cancel()
        else:
            scope.cancel()
        with pytest.raises(asyncio.CancelledError if foreign else Canceled):
            await task
        assert not plain.exists("lock")
        await client.aclose()

    with Proxy(redis_server.port) as proxy:
        run(main, proxy)


# -- bad input -----------------------------------------------------------------------


def test_follow_comes_before_the_first_use(run: Run, redis_server: Server) -> None:
    async def main() -> None:
        async with client_of(redis_server, followed=False) as client:
            await client.ping()
            with pytest.raises(ValueError, match="follow it before"):
                _ = follow(client)

    run(main)


@pytest.mark.parametrize("ctx", [None, 1.0])
def test_a_context_is_wanted(run: Run, redis_server: Server, ctx: Any) -> None:
    async def main() -> None:
        async with client_of(redis_server) as client:
            with pytest.raises(TypeError, match="call_async takes a context"):
                await call_async(ctx, client.get, "key")

    run(main)
