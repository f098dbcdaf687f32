"""From the end of a context to the call that is back and its resource free, ns."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

import redis
import redis.asyncio

from bench._measure import Case, Effort, Side
from tests.ext.processes import TREE, Watch
from tests.ext.redis_server import server
from tether import Canceled, background
from tether.ext.redis import follow
from tether.ext.subprocess import run, run_async

HANG = 10.0
# The waiter has gone to sleep by then. On Python 3.11 a task.cancel() that comes while
# redis-py still sends is lost in asyncio.wait_for().
PAUSE = 0.005
SHELL = ["sh", "-c", TREE]


class Fired:
    """Does something in a thread once `ready()` returns, and notes when."""

    at = 0

    def __init__(self, ready: Callable[[], object], do: Callable[[], object]) -> None:
        self._ready = ready
        self._do = do
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        self._ready()
        time.sleep(PAUSE)
        self.at = now()
        self._do()

    def took(self) -> int:
        """The time from then to now."""
        back = now()
        self._thread.join(HANG)
        return back - self.at


# -- a tree of five processes --------------------------------------------------------


class Grown:
    """A block around one tree, after which nothing of it may be left."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.watch = Watch(Path(self._folder.name))

    def __enter__(self) -> Watch:
        return self.watch

    def __exit__(self, *_: object) -> None:
        left = self.watch.alive()
        self.watch.kill()
        self._folder.cleanup()
        if left:
            raise RuntimeError(f"{len(left)} processes were left")


def tree_by_hand(n: int) -> list[int]:
    """The least that there is to do: it neither waits for all nor asks politely."""
    samples = []
    for _ in range(n):
        with Grown() as watch:
            process = subprocess.Popen(SHELL, env=watch.env, start_new_session=True)
            group = process.pid
            fired = Fired(watch.wait, lambda: os.killpg(group, signal.SIGKILL))  # noqa: B023
            process.wait()
            samples.append(fired.took())
            until(lambda: not watch.alive())
    return samples


def tree_tether(n: int) -> list[int]:
    samples = []
    for _ in range(n):
        with Grown() as watch, background().with_cancel() as ctx:
            fired = Fired(watch.wait, ctx.cancel)
            try:
                run(ctx, SHELL, env=watch.env, capture_output=True)
            except Canceled:
                samples.append(fired.took())
    return samples


async def tree_tether_async(n: int) -> list[int]:
    samples = []
    for _ in range(n):
        with Grown() as watch:
            ctx = background().with_cancel()
            fired = Fired(watch.wait, ctx.cancel)
            try:
                with ctx:
                    await run_async(ctx, SHELL, env=watch.env, capture_output=True)
            except Canceled:
                samples.append(fired.took())
    return samples


# -- a blocking pop ------------------------------------------------------------------


def until(what: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    end = time.monotonic() + HANG
    while not what():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.0005)


def blocked(client: redis.Redis) -> int:
    info: Any = client.info("clients")
    return int(info["blocked_clients"])


def pop_by_hand(n: int) -> list[int]:
    """CLIENT UNBLOCK on a connection that is open already."""
    samples = []
    path = server().path
    with (
        redis.Redis(unix_socket_path=path) as other,
        redis.Redis(unix_socket_path=path, single_connection_client=True) as client,
    ):
        me = int(client.client_id())
        for _ in range(n):
            fired = Fired(
                lambda: until(lambda: blocked(other)),
                lambda: other.client_unblock(me, error=True),
            )
            try:
                client.blpop("bench", timeout=0)
            except redis.ResponseError:
                samples.append(fired.took())
    return samples


def pop_tether(n: int) -> list[int]:
    samples = []
    path = server().path
    with (
        redis.Redis(unix_socket_path=path) as other,
        follow(redis.Redis(unix_socket_path=path)) as client,
    ):
        for _ in range(n):
            with background().with_cancel() as ctx:
                fired = Fired(lambda: until(lambda: blocked(other)), ctx.cancel)
                try:
                    client.blpop("bench", timeout=0)
                except Canceled:
                    samples.append(fired.took())
            free(other)
    return samples


async def pop_by_cancel(n: int) -> list[int]:
    """As redis-py has it: the connection is lost, and perhaps an item."""
    samples = []
    path = server().path
    loop = asyncio.get_running_loop()
    with redis.Redis(unix_socket_path=path) as other:
        client = redis.asyncio.Redis(unix_socket_path=path)
        for _ in range(n):
            pop: Any = client.blpop("bench", timeout=0)
            task = asyncio.ensure_future(pop)
            cancel = task.cancel
            fired = Fired(
                lambda: until(lambda: blocked(other)),
                lambda: loop.call_soon_threadsafe(cancel),  # noqa: B023
            )
            await asyncio.wait([task], timeout=HANG)
            samples.append(fired.took())
            until(lambda: not blocked(other))
        await client.aclose()
    return samples


async def pop_tether_async(n: int) -> list[int]:
    samples = []
    path = server().path
    with redis.Redis(unix_socket_path=path) as other:
        client = follow(redis.asyncio.Redis(unix_socket_path=path))
        for _ in range(n):
            ctx = background().with_cancel()
            fired = Fired(lambda: until(lambda: blocked(other)), ctx.cancel)
            try:
                with ctx:
                    await client.blpop("bench", timeout=0)
            except Canceled:
                samples.append(fired.took())
            free(other)
        await client.aclose()
    return samples


def free(client: redis.Redis) -> None:
    """Nobody may still wait in the server."""
    if blocked(client):
        raise RuntimeError("a command still waits in the server")


def cases(effort: Effort) -> list[Case]:
    """Fifty ends of each, in turns."""
    n = 5 if effort.large else 1
    return [
        Case(
            "five processes",
            "SIGKILL by hand",
            [
                Side("SIGKILL by hand", tree_by_hand),
                Side("tether.ext.subprocess.run", tree_tether),
                Side("tether run_async", tree_tether_async, "asyncio"),
            ],
            n=n,
        ),
        Case(
            "BLPOP",
            "CLIENT UNBLOCK by hand",
            [
                Side("CLIENT UNBLOCK by hand", pop_by_hand),
                Side("tether.ext.redis", pop_tether),
                Side("redis.asyncio, task.cancel()", pop_by_cancel, "asyncio"),
                Side("tether.ext.redis in a task", pop_tether_async, "asyncio"),
            ],
            n=n,
        ),
    ]
