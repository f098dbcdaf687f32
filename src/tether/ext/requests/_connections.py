"""Connections and pools of urllib3 that obey the context of a request."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
)

from tether import Context, current
from tether._calls import can_end, connect, cutting, cutting_handshake
from tether._clock import INF

# The context that a Session was given. Its scope would be gone before a stream is.
given: ContextVar[Context | None] = ContextVar("tether.ext.requests", default=None)


def context() -> Context:
    """The context of the call that is being made."""
    return given.get() or current()


class _Socket:
    """Stands for a connected socket; each call on it ends with `ctx`."""

    def __init__(self, sock: Any, ctx: Context | None) -> None:
        self._sock = sock
        self.ctx = ctx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _call(self, method: Callable[..., Any], *args: Any) -> Any:
        ctx = self.ctx
        if ctx is None:
            return method(*args)
        with cutting(ctx, self._sock):
            return method(*args)

    def recv(self, *args: Any) -> Any:
        return self._call(self._sock.recv, *args)

    def recv_into(self, *args: Any) -> Any:
        return self._call(self._sock.recv_into, *args)

    def send(self, *args: Any) -> Any:
        return self._call(self._sock.send, *args)

    def sendall(self, *args: Any) -> Any:
        return self._call(self._sock.sendall, *args)

    def makefile(self, mode: str = "rb", *_: object) -> io.BufferedReader:
        assert mode == "rb"
        self._sock._io_refs += 1
        return io.BufferedReader(socket.SocketIO(cast("Any", self), "r"))


if TYPE_CHECKING:
    _Base = HTTPSConnection
else:
    _Base = object


class _Connection(_Base):
    """What is added to both connections of urllib3."""

    _tether_ctx: Context | None = None
    _tether_connecting: ExitStack

    def _tether_follow(self, ctx: Context | None) -> None:
        """From now on the connection serves a request of this context."""
        self._tether_ctx = ctx
        sock: object = self.sock
        if isinstance(sock, _Socket):
            sock.ctx = ctx

    def _new_conn(self) -> socket.socket:
        ctx = self._tether_ctx
        if ctx is None:
            return super()._new_conn()
        try:
            sock = connect(
                ctx,
                self._dns_host.strip("[]"),
                self.port,
                timeout=self.timeout,
                source_address=self.source_address,
                options=self.socket_options or (),
            )
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc
        except TimeoutError as exc:
            took = f"(connect timeout={self.timeout})"
            text = f"Connection to {self.host} timed out. {took}"
            raise ConnectTimeoutError(self, text) from exc
        except OSError as exc:
            text = f"Failed to establish a new connection: {exc}"
            raise NewConnectionError(self, text) from exc
        try:
            self._tether_connecting.enter_context(cutting_handshake(ctx, sock))
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        with ExitStack() as self._tether_connecting:
            super().connect()  # _new_conn(), the tunnel of a proxy, TLS
        self.sock = cast("Any", _Socket(self.sock, self._tether_ctx))


class _HTTPConnection(_Connection, HTTPConnection):
    pass


class _HTTPSConnection(_Connection, HTTPSConnection):
    pass


class _Queue(LifoQueue[Any]):
    """Where a pool keeps its connections; a wait for one ends with the context."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT002
        ctx = context()
        if not block or not can_end(ctx):
            return super().get(block, timeout)
        until = INF if timeout is None else time.monotonic() + timeout
        stop = ctx.after_func(self._tether_wake)
        try:
            with self.not_empty:
                while not self._qsize():
                    left = until - time.monotonic()
                    if left <= 0 or ctx.done():
                        raise Empty
                    self.not_empty.wait(None if left == INF else left)
                return self._get()
        finally:
            stop()

    def _tether_wake(self) -> None:
        with self.not_empty:
            self.not_empty.notify_all()


if TYPE_CHECKING:
    _BasePool = HTTPSConnectionPool
else:
    _BasePool = object


class _Pool(_BasePool):
    """What is added to both pools of urllib3."""

    QueueCls = _Queue  # type: ignore[mutable-override]

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        ctx = context()
        connection._tether_follow(ctx if can_end(ctx) else None)
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn._tether_follow(None)
        super()._put_conn(conn)


class _HTTPPool(_Pool, HTTPConnectionPool):
    ConnectionCls = _HTTPConnection  # type: ignore[mutable-override]


class _HTTPSPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection  # type: ignore[mutable-override]


POOLS: dict[str, type] = {"http": _HTTPPool, "https": _HTTPSPool}
