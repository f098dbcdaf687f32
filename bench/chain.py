"""A chain of three services with 1 s at its entrance, each a process, asked by HTTP.

The first waits for the second with httpx in a task, the second for the third with
requests in a thread, the third for something that takes long.
"""

from __future__ import annotations

import asyncio
import atexit
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from threading import Thread
from time import monotonic_ns as now
from time import sleep
from typing import Any

from bench._measure import Case, Effort, Run, Side

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["first", "second", "third"]
REQUEST = b"GET / HTTP/1.1\r\nHost: chain\r\n\r\n"
BUDGET = 1.0
LONG = 60.0
SETTLED = 0.06  # seconds: a request is listened to from its 30th millisecond on
ARRIVED, BEGAN, STOPPED = "arrived", "began", "stopped"


# -- asking ----------------------------------------------------------------------------


class Service:
    """One of the three, and what it says."""

    def __init__(self, name: str, port_of_the_next: int) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "bench.chain", name, str(port_of_the_next)],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.child.wait)
        assert self.child.stdin is not None
        atexit.register(self.child.stdin.close)
        self.port = self.says("port")

    def says(self, word: str) -> int:
        """The number after the next word, which is this one."""
        assert self.child.stdout is not None
        said, _, number = self.child.stdout.readline().partition(" ")
        if said != word:
            raise ChildProcessError(f"a service said {said!r} and not {word!r}")
        return int(number)


@cache
def services() -> list[Service]:
    """The three, the last one started first."""
    port, chain = 0, []
    for name in reversed(NAMES):
        chain.append(Service(name, port))
        port = chain[-1].port
    return chain[::-1]


def exchange() -> tuple[list[int], list[int]]:
    """Ask, and hang up on them at work: what each had left, and when it stopped.

    Both in nanoseconds; the second from the hang-up.
    """
    chain = services()
    with socket.create_connection(("127.0.0.1", chain[0].port)) as connection:
        connection.sendall(REQUEST)
        left = [one.says(ARRIVED) for one in chain]
        chain[-1].says(BEGAN)
        sleep(SETTLED)
        began = now()
    return left, [one.says(STOPPED) - began for one in chain]


# -- answering: python -m bench.chain NAME PORT ----------------------------------------


def say(word: str, number: int) -> None:
    print(word, number, flush=True)


def application(name: str, url: str) -> Any:
    from tether import Context, current, to_thread
    from tether.ext import httpx, requests

    in_tasks, in_threads = httpx.AsyncClient(), requests.Session()

    async def first(ctx: Context) -> None:
        await in_tasks.get(ctx, url)

    async def second(ctx: Context) -> None:
        await to_thread(ctx, lambda ctx: in_threads.get(ctx, url))

    async def third(_: Context) -> None:
        say(BEGAN, now())
        await asyncio.sleep(LONG)

    waits: dict[str, Callable[[Context], Awaitable[None]]] = {
        "first": first,
        "second": second,
        "third": third,
    }

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        ctx = current()
        say(ARRIVED, int(ctx.remaining() * 1e9))
        try:
            await waits[name](ctx)
        finally:
            say(STOPPED, now())

    return app


async def answer(name: str, port_of_the_next: str) -> None:
    import uvicorn

    from tether.ext.asgi import ContextMiddleware

    app = application(name, f"http://127.0.0.1:{port_of_the_next}/")
    timeout = BUDGET if name == NAMES[0] else LONG
    served: Any = ContextMiddleware(app, timeout)
    config = uvicorn.Config(served, lifespan="off", access_log=False, log_level=50)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        say("port", listener.getsockname()[1])
        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(server.serve(sockets=[listener]))

        def wait_for_the_parent() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(setattr, server, "should_exit", True)

        Thread(target=wait_for_the_parent, daemon=True).start()
        await serving


def cases(effort: Effort) -> Sequence[Case]:
    def stopping(place: int) -> Run:
        return lambda n: [exchange()[1][place] for _ in range(n)]

    def left(place: int) -> Run:
        return lambda n: [exchange()[0][place] for _ in range(n)]

    n = 10 if effort.large else 1
    return [
        Case(title, NAMES[0], [Side(x, of(i)) for i, x in enumerate(NAMES)], n=n)
        for title, of in (
            ("from the client's hang-up until it has stopped", stopping),
            ("left on arrival", left),
        )
    ]


if __name__ == "__main__":
    asyncio.run(answer(*sys.argv[1:]))
