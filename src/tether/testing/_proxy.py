"""Proxy: a port that leads to a server, slowly or with failures."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Literal, Self, final

from .._checks import seconds_, whole_

Failure = Literal["reset", "half-close", "stall"]

CHUNK = 65536
LOOK = 0.05  # seconds
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset


@final
class Proxy:
    """A port of this machine that leads to a server; slow, or failing, as told.

    Clients connect to `host` and `port` of the proxy. `latency` is the seconds that
    each way takes longer. `fail` is what befalls each connection when the server has
    sent `after` bytes on it:

    - "reset": it is reset, as when a process dies or a balancer forgets it;
    - "half-close": the client reads the end, and may still send;
    - "stall": it stays open and nothing comes any more, as when a cable is pulled.

    `proxy.fail_now(...)` does the same to the connections that are open now.

        >>> import socket
        >>> from tether.testing import Proxy
        >>> with socket.create_server(("127.0.0.1", 0)) as server:
        ...     with Proxy(*server.getsockname(), fail="half-close") as proxy:
        ...         with socket.create_connection((proxy.host, proxy.port)) as client:
        ...             client.recv(1)
        b''

    It runs in a thread of its own, in a `bubble` on its time, elsewhere on real time:
    under `run` stay below 0.1 s of latency, after which silence counts as nothing to
    come. Leaving closes all.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        latency: float = 0.0,
        fail: Failure | None = None,
        after: int = 0,
    ) -> None:
        self._upstream = host, port
        self._latency = seconds_("latency", latency)
        if fail not in {None, "reset", "half-close", "stall"}:
            raise ValueError(f'fail is "reset", "half-close" or "stall", not {fail!r}')
        self._fail = fail
        self._after = whole_("after", after)
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._failed: Exception | None = None  # why it could not begin
        self.host = "127.0.0.1"
        self.port = 0  # known inside its block
        self._thread = threading.Thread(target=self._run, name="tether proxy")

    @property
    def accepted(self) -> int:
        """How many connections it has taken so far."""
        return self._accepted

    def fail_now(self, how: Failure) -> None:
        """Reset, half-close or stall the connections that are open now."""
        done = threading.Event()

        def fail() -> None:
            for link in [*self._links]:
                link.fail(how)
            done.set()

        self._call(fail)
        while not done.wait(LOOK) and self._thread.is_alive():
            pass  # else another thread has left the block: they are closed

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port = self._listener.getsockname()[1]
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            self._thread.join()
            self._listener.close()
            raise self._failed
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._call(self._over.set)
        self._thread.join()

    def _call(self, fn: Callable[[], object]) -> None:
        if self._loop is None or not self._thread.is_alive():
            raise RuntimeError("the proxy is not running: use it inside its with block")
        self._loop.call_soon_threadsafe(fn)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._serve())
        except Exception as exc:
            if self._ready.is_set():
                raise
            self._failed = exc  # as there are no descriptors
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._accepted += 1
        task = asyncio.create_task(self._carry((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: Stream) -> None:
        try:
            upstream = await asyncio.open_connection(*self._upstream)
        except OSError:
            client[1].transport.abort()  # refused there is cut off here
            return
        link = _Link(client, upstream, self._latency)
        self._links.add(link)
        try:
            await link.carry(self._fail, self._after)
        finally:
            self._links.discard(link)
            link.cut()


@final
class Proxies(ExitStack):
    """Makes proxies, and leaves them all at the end: the fixture `tether_proxy`."""

    def __call__(
        self,
        host: str,
        port: int,
        *,
        latency: float = 0.0,
        fail: Failure | None = None,
        after: int = 0,
    ) -> Proxy:
        """A proxy that runs already."""
        proxy = Proxy(host, port, latency=latency, fail=fail, after=after)
        return self.enter_context(proxy)


@final
class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: Stream, server: Stream, latency: float) -> None:
        self._client = client
        self._server = server
        self._latency = latency
        self._silent = False  # nothing of the server reaches the client any more
        self._deaf = False  # nor anything of the client the server

    async def carry(self, fail: Failure | None, after: int) -> None:
        """Hand on what comes, both ways, until both are at their end."""
        if fail is not None and after == 0:
            self.fail(fail)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._up())
            ways.create_task(self._down(fail, after))

    def fail(self, how: Failure) -> None:
        """Have it fail now."""
        writer = self._client[1]
        self._silent = True
        if how == "reset":
            taken: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):  # the client has closed it
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.cut()
        elif how == "stall":
            self._deaf = True
        elif not writer.is_closing():
            writer.write_eof()

    def cut(self) -> None:
        """Close both connections at once."""
        self._client[1].transport.abort()
        self._server[1].transport.abort()

    async def _up(self) -> None:
        with suppress(OSError):
            while data := await self._read(self._client):
                if not self._deaf:
                    await self._write(self._server, data)
            if not self._deaf:
                self._server[1].write_eof()

    async def _down(self, fail: Failure | None, left: int) -> None:
        with suppress(OSError):
            while data := await self._read(self._server):
                if self._silent:
                    continue
                if fail is not None and len(data) >= left:
                    await self._write(self._client, data[:left])
                    self.fail(fail)
                    continue
                left -= len(data)
                await self._write(self._client, data)
            if not self._silent:
                self._client[1].write_eof()

    async def _read(self, stream: Stream) -> bytes:
        data = await stream[0].read(CHUNK)
        # In this way's own task, so that the other way goes on meanwhile.
        await asyncio.sleep(self._latency)
        return data

    async def _write(self, stream: Stream, data: bytes) -> None:
        stream[1].write(data)
        await stream[1].drain()
