"""A unary call over loopback, and a message of a stream: CPU time, ns.

Of a server: of its whole process, one for each side, which is asked by this one. Of a
client: of the calling thread, beside which gRPC has others.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from time import process_time_ns, thread_time_ns
from typing import Any

from bench._measure import Case, Effort, Side
from tether import background

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 8  # calls in flight
MESSAGES = 100  # of one stream
BARE = "bare"
SIDES = [BARE, "tether", "tether, metrics"]


# -- the servers ---------------------------------------------------------------------


def one(*_: object) -> bytes:
    return b""


def many(*_: object) -> Iterator[bytes]:
    for _n in range(MESSAGES):
        yield b""


def take(requests: Iterator[bytes], _: object) -> bytes:
    for _request in requests:
        pass
    return b""


async def one_in_a_task(*_: object) -> bytes:
    return b""


async def many_in_a_task(*_: object) -> AsyncIterator[bytes]:
    for _n in range(MESSAGES):
        yield b""


async def take_in_a_task(requests: AsyncIterator[bytes], _: object) -> bytes:
    async for _request in requests:
        pass
    return b""


def used(*_: object) -> bytes:
    return str(process_time_ns()).encode()


def handlers(one: Any, many: Any, take: Any) -> Any:
    import grpc

    return grpc.method_handlers_generic_handler(
        "bench.Bench",
        {
            "One": grpc.unary_unary_rpc_method_handler(one),
            "Many": grpc.unary_stream_rpc_method_handler(many),
            "Take": grpc.stream_unary_rpc_method_handler(take),
            "Used": grpc.unary_unary_rpc_method_handler(used),
        },
    )


def interceptors(kind: Callable[..., Any], side: str) -> list[Any]:
    if side == BARE:
        return []
    if side == "tether":
        return [kind(timeout=60.0)]
    from prometheus_client import CollectorRegistry

    return [kind(timeout=60.0, metrics=CollectorRegistry())]


def serve_threads(side: str) -> None:
    import grpc

    from tether.ext.grpc import ServerInterceptor

    server = grpc.server(
        ThreadPoolExecutor(AT_ONCE), interceptors=interceptors(ServerInterceptor, side)
    )
    server.add_generic_rpc_handlers([handlers(one, many, take)])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


async def serve_tasks(side: str) -> None:
    import grpc.aio

    from tether.ext.grpc import AioServerInterceptor

    server = grpc.aio.server(interceptors=interceptors(AioServerInterceptor, side))
    methods = handlers(one_in_a_task, many_in_a_task, take_in_a_task)
    server.add_generic_rpc_handlers([methods])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


@cache
def address(flavor: str, side: str) -> str:
    """A server in a process of its own, which ends with this one."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.grpc", flavor, side],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    return f"127.0.0.1:{int(child.stdout.readline())}"


# -- a server's work -----------------------------------------------------------------


def asked(flavor: str, side: str, method: str, n: int) -> int:
    """The CPU time of the server for n calls."""
    import grpc

    with grpc.insecure_channel(address(flavor, side)) as channel:
        path = "/bench.Bench/"
        spent: Any = channel.unary_unary(f"{path}Used")
        single: Any = channel.unary_unary(f"{path}One")
        stream: Any = channel.unary_stream(f"{path}Many")
        upload: Any = channel.stream_unary(f"{path}Take")

        def ask(_: int) -> None:
            if method == "One":
                single(b"", timeout=60.0)
            elif method == "Take":
                upload(repeat(b"", MESSAGES), timeout=60.0)
            else:
                for _message in stream(b"", timeout=60.0):
                    pass

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(ask, range(AT_ONCE)))  # the connection, the threads
            began = int(spent(b""))
            list(pool.map(ask, range(n)))
            return int(spent(b"")) - began


# -- a client's work -----------------------------------------------------------------


def threads_plain(n: int) -> int:
    return calling(lambda channel: channel.unary_unary("/bench.Bench/One"), n)


def threads_future(n: int) -> int:
    def start(channel: Any) -> Callable[..., Any]:
        method = channel.unary_unary("/bench.Bench/One")
        return lambda request, timeout: method.future(request, timeout).result()

    return calling(start, n)


def threads_tether(n: int) -> int:
    from tether.ext.grpc import call

    with background().with_timeout(60.0) as ctx:

        def start(channel: Any) -> Callable[..., Any]:
            method = channel.unary_unary("/bench.Bench/One")
            return lambda request, **_: call(ctx, method, request)

        return calling(start, n)


def threads_followed(n: int) -> int:
    from tether.ext.grpc import follow

    with background().with_timeout(60.0):
        return calling(lambda raw: follow(raw).unary_unary("/bench.Bench/One"), n)


def calling(start: Callable[[Any], Callable[..., Any]], n: int) -> int:
    import grpc

    with grpc.insecure_channel(address("tasks", BARE)) as channel:
        method = start(channel)
        method(b"", timeout=60.0)
        began = thread_time_ns()
        for _ in range(n):
            method(b"", timeout=60.0)
        return thread_time_ns() - began


async def tasks_plain(n: int) -> int:
    async def ask(method: Any) -> None:
        await method(b"", timeout=60.0)

    return await awaiting(ask, n)


async def tasks_timeout(n: int) -> int:
    async def ask(method: Any) -> None:
        async with asyncio.timeout(60.0):
            await method(b"", timeout=60.0)

    return await awaiting(ask, n)


async def tasks_tether(n: int) -> int:
    from tether.ext.grpc import call_async

    with background().with_timeout(60.0) as ctx:

        async def ask(method: Any) -> None:
            await call_async(ctx, method, b"")

        return await awaiting(ask, n)


async def awaiting(ask: Callable[[Any], Coroutine[Any, Any, None]], n: int) -> int:
    import grpc.aio

    async with grpc.aio.insecure_channel(address("tasks", BARE)) as channel:
        method: Any = channel.unary_unary("/bench.Bench/One")
        await ask(method)
        began = thread_time_ns()
        for _ in range(n):
            await ask(method)
        return thread_time_ns() - began


def cases(effort: Effort) -> list[Case]:
    """What is measured."""
    n = 200 if effort.large else 2
    found = [
        Case(
            f"server of {flavor}, {what}",
            BARE,
            [
                Side(side, partial(asked, flavor, side, method), per=per)
                for side in SIDES
            ],
            n=max(1, n // per),
        )
        for flavor in ("threads", "tasks")
        for what, method, per in (
            ("call", "One", 1),
            ("response of a stream", "Many", MESSAGES),
            ("request of a stream", "Take", MESSAGES),
        )
    ]
    return [
        *found,
        Case(
            "client in a thread",
            "grpc",
            [
                Side("grpc", threads_plain),
                Side("grpc, a future", threads_future),
                Side("tether", threads_tether),
                Side("tether, followed", threads_followed),
            ],
            n=n,
        ),
        Case(
            "client in a task",
            "grpc.aio",
            [
                Side("grpc.aio", tasks_plain, on="asyncio"),
                Side("asyncio.timeout", tasks_timeout, on="asyncio"),
                Side("tether", tasks_tether, on="asyncio"),
            ],
            n=n,
        ),
    ]


if __name__ == "__main__":
    flavor, side = sys.argv[1:]
    if flavor == "threads":
        serve_threads(side)
    else:
        asyncio.run(serve_tasks(side))
