"""A uvicorn that is a whole process, or several."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import final

from tether._errors import SECOND_SIGNAL
from tether._program import write
from tether.signals import TERMINATING, name_of

from . import _heads
from ._library import STARTUP_FAILURE, Config, Multiprocess, Server, multiprocess

# Seconds in which the same signal is no second one: `timeout` and some init programs
# signal a process and then its group.
ECHO = 0.02


def serve(
    app: Callable[[], object],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    header_timeout: float = 10.0,
    stop_within: float = math.inf,
    log_level: str = "info",
    access_log: bool = True,
) -> int:
    """The status for the process to end with, when a signal has stopped the server: 0.

    `app` makes the ASGI application, in each of `workers` processes; for several it
    must be something that can be pickled, as a function of a module. An application
    that is to stop in order is a `Service` of `tether.ext.asgi`, and `stop_within` the
    seconds that its requests have together: connections whose clients do not read what
    they are sent are given up then.

    3 if the server could not start, and what a worker has left with, if that was not 0.
    In the main thread. See `header_timeout` for slow clients.
    """
    grace = None if stop_within == math.inf else math.ceil(stop_within)
    config = Config(
        app,
        factory=True,
        interface="asgi3",
        lifespan="on",
        host=host,
        port=port,
        workers=workers,
        http=_heads.header_timeout(header_timeout),
        timeout_graceful_shutdown=grace,
        log_level=log_level,
        access_log=access_log,
    )
    if workers == 1:
        server = _Server(config)
        server.run()
        return 0 if server.started else STARTUP_FAILURE
    # The supervisor makes its workers by this name, and can be told in no other way.
    multiprocess.Process = _Worker  # type: ignore[misc]
    supervisor = _Workers(config, [config.bind_socket()])
    supervisor.run()
    return supervisor.status()


@final
class _Server(Server):
    """Ends with status 0 after a signal, and serves whoever got through to it."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop, and do not raise the signal again when all is over."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, after the connections that the system has accepted for us.

        They would be reset together with the socket on which they wait.
        """
        listeners = [one.dup() for server in self.servers for one in server.sockets]
        for server in self.servers:
            server.close()
        waiting = [one for listener in listeners for one in _accepted_by(listener)]
        for listener in listeners:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            try:
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError:
                connection.close()  # gone meanwhile
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )


def _accepted_by(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # there is none, or it has gone already
            return
        connection.setblocking(False)
        yield connection


@final
class _Worker(multiprocess.Process):
    """One of several processes, with this server instead of uvicorn's."""

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = _Server(self.config)
        return self._server


@final
class _Workers(Multiprocess):
    """uvicorn's supervisor, with a second signal and a status."""

    _heard: int | None = None
    _at = 0.0

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        for signum in TERMINATING:
            signal.signal(signum, self._hear)

    def _hear(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._heard is None:
            self._heard, self._at = signum, time.monotonic()
            self.signal_queue.append(signum)
            return
        if signum == self._heard and time.monotonic() - self._at < ECHO:
            return
        write(SECOND_SIGNAL.format(name=name_of(signum)))
        for worker in self.processes:
            worker.process.kill()
        os._exit(128 + signum)

    def terminate_all(self) -> None:
        """Tell the workers, who alone hold the socket from now on.

        Once they have closed it nobody else would accept what is waiting there.
        """
        for one in self.sockets:
            one.close()
        super().terminate_all()

    def status(self) -> int:
        """What the process is to end with, when all workers have."""
        codes = [worker.exitcode or 0 for worker in self.processes]
        return max(0, *codes)
