"""A plaintext answer of uvicorn over loopback, ns per request.

The servers are child processes, one for each side, all up at the same time; this
process asks them in turns over kept-alive connections. So what is measured is the
server: it has a core to itself, and asking costs a fraction of answering.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

from bench._measure import Bar, Case, Effort, Side

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 16
REQUEST = b"GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n"
LEAST_THROUGHPUT = 0.93
STACKS = [("httptools", "uvloop"), ("h11", "asyncio")]
BARE = "bare"
SIDES = ["bare", "tether", "tether, timeout", "tether serve", "anyio task group"]


# -- asking ----------------------------------------------------------------------------


class Round:
    """So many requests, spread over the connections."""

    def __init__(self, count: int) -> None:
        self.to_ask = count
        self.to_come = count
        self.done = asyncio.get_running_loop().create_future()


class Client(asyncio.Protocol):
    """Asks again as soon as it has the answer, which always has the same length."""

    def __init__(self) -> None:
        self.received = b""
        self.length = 0
        self.round: Round

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self) -> None:
        if self.round.to_ask:
            self.round.to_ask -= 1
            self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.length:
            head, end, rest = self.received.partition(b"\r\n\r\n")
            if not end or not rest:
                return
            if b" 200 " not in head:
                raise AssertionError(head)
            self.length = len(self.received)
        if len(self.received) >= self.length:
            self.received = self.received[self.length :]
            self.round.to_come -= 1
            if not self.round.to_come:
                self.round.done.set_result(None)
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.round.to_come:
            self.round.done.set_exception(exc or ConnectionError("server closed"))


class Server:
    """One side's server, started when first needed."""

    def __init__(self, *how: str, module: str = "bench.asgi") -> None:
        self.how = (module, *how)
        self.port = 0

    def start(self) -> None:
        child = subprocess.Popen(
            [sys.executable, "-m", *self.how],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(child.wait)
        assert child.stdin is not None
        atexit.register(child.stdin.close)
        assert child.stdout is not None
        self.port = int(child.stdout.readline() or "0")
        if not self.port:
            raise ChildProcessError("the server did not start")

    async def run(self, n: int) -> int:
        if not self.port:
            self.start()
        loop = asyncio.get_running_loop()
        clients = [
            (await loop.create_connection(Client, "127.0.0.1", self.port))[1]
            for _ in range(CONNECTIONS)
        ]
        try:
            spent = 0
            for count in (CONNECTIONS, n):  # the first round is to warm up
                one = Round(count)
                for client in clients:
                    client.round = one
                start = now()
                for client in clients:
                    client.ask()
                await one.done
                spent = now() - start
            return spent
        finally:
            for client in clients:
                client.transport.abort()


# -- answering: python -m bench.asgi SIDE HTTP LOOP ------------------------------------


START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
}
BODY = {"type": "http.response.body", "body": b"Hello, world!"}


async def plaintext(_scope: Any, _receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


class TaskGroup:
    """The usual recipe: application and listener as two tasks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        import anyio

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await self.app(scope, receive, send)
            group.cancel_scope.cancel()


def application(side: str) -> Any:
    from tether.ext.asgi import ContextMiddleware, Service

    if side == "tether":
        return ContextMiddleware(plaintext)
    if side == "tether, timeout":
        return ContextMiddleware(plaintext, timeout=30.0)
    if side == "tether serve":
        return Service(ContextMiddleware(plaintext, timeout=30.0))
    return plaintext if side == BARE else TaskGroup(plaintext)


async def answer(config: Any, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    print(listener.getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


def main(side: str, http: Any, loop: Any) -> None:
    import uvicorn

    from tether.ext.uvicorn import header_timeout

    served = side == "tether serve"
    config = uvicorn.Config(
        application(side),
        http=header_timeout(10.0, http) if served else http,
        lifespan="on" if served else "off",
        access_log=False,
        log_level=50,
    )
    serve(config, loop)


def serve(config: Any, loop: str) -> None:
    """Answer, and print the port, until standard input is closed."""
    # Said to be TCP, or asyncio leaves Nagle on, and h11 writes in two pieces.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(answer(config, listener))


def cases(effort: Effort) -> Sequence[Case]:
    bars = (Bar(round(1 / LEAST_THROUGHPUT, 3), BARE),)
    return [
        Case(
            f"{http} on {loop}",
            BARE,
            [
                Side(
                    name,
                    Server(name, http, loop).run,
                    "uvloop",
                    bars=bars if name.startswith("tether") else (),
                )
                for name in SIDES
            ],
            n=2000 if effort.large else 50,
        )
        for http, loop in STACKS
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
