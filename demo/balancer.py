"""The load balancer: python -m demo.balancer PORT POD_PORT ...

It hands each connection to the next pod that is well, and keeps asking them whether
they are. When none is, it answers 503 itself; when a pod dies before it has answered,
502.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from demo.http import request
from demo.serve import follow_parent
from tether import Context, DeadlineExceeded, Group, run

EVERY = 0.2  # seconds between two checks of a pod
PATIENCE = 1.0
CONNECT = 0.5


class Pods:
    """Which pods there are, and which of them are well."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._well: set[int] = set()
        self._turns = count()

    def choice(self) -> list[int]:
        """Those that are well, the one whose turn it is first."""
        turn = next(self._turns)
        well = [port for port in self._ports if port in self._well]
        return [well[(turn + n) % len(well)] for n in range(len(well))]

    def fails(self, port: int) -> None:
        """Nobody listens there."""
        self._well.discard(port)

    async def check(self, ctx: Context, port: int) -> None:
        """Ask a pod whether it is ready, again and again."""
        while True:
            try:
                with ctx.with_timeout(PATIENCE):
                    status, _ = await request(port, "GET", "/readyz")
            except (OSError, DeadlineExceeded):
                status = 0
            if status == 200:
                self._well.add(port)
            else:
                self.fails(port)
            await ctx.sleep_async(EVERY)


class Client(asyncio.Protocol):
    """The connection of a client, and what it has sent before there was a pod."""

    def __init__(self, ctx: Context, pods: Pods) -> None:
        self._ctx = ctx  # tether: ignore[stored-ctx] the balancer's: it outlives us
        self._pods = pods
        self._sent: list[bytes] = []
        self._pod: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for port in self._pods.choice():
            try:
                with self._ctx.with_timeout(CONNECT):
                    self._pod, _ = await loop.create_connection(
                        lambda: Pod(self), "127.0.0.1", port
                    )
            except (OSError, DeadlineExceeded):
                self._pods.fails(port)
                continue
            if self.transport.is_closing():
                self._pod.abort()
            self._pod.writelines(self._sent)
            return
        self.refuse(503, "Service Unavailable")

    def data_received(self, data: bytes) -> None:
        if self._pod is None:
            self._sent.append(data)
        else:
            self._pod.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._pod is not None:
            self._pod.abort()

    def refuse(self, status: int, reason: str) -> None:
        """Answer in place of a pod."""
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n".encode())
        self.transport.close()


class Pod(asyncio.Protocol):
    """The connection to the pod for one of a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answered = False

    def data_received(self, data: bytes) -> None:
        self._answered = True
        self._client.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._answered:
            self._client.transport.close()
        elif not self._client.transport.is_closing():
            self._client.refuse(502, "Bad Gateway")


async def main(ctx: Context, port: int, ports: list[int]) -> None:
    """Balance until SIGTERM."""
    pods = Pods(ports)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(ctx, pods), "127.0.0.1", port)
    async with server, Group(ctx) as checks:
        for one in ports:
            checks.go(pods.check, one)


if __name__ == "__main__":
    follow_parent()
    run(main, int(sys.argv[1]), [int(one) for one in sys.argv[2:]], drain=2.0)
