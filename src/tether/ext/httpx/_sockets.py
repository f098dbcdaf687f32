"""What httpcore does on its sockets for threads, inside `cutting()`."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

from tether import current
from tether._calls import Cut, can_end, connect, cutting, cutting_handshake


def follow(pool: Any) -> None:
    """Have a connection pool of httpcore's obey `current()`."""
    if pool._http2:
        raise ValueError(
            "in a thread a context cannot end a request on HTTP/2, whose connection "
            "others share; pass http2=False, or use AsyncClient"
        )
    if not isinstance(pool._network_backend, _Backend):
        pool._network_backend = _Backend(pool._network_backend, _library(pool))


def let_go(pool: Any, extensions: object) -> None:
    """Let a request go that still waits for a connection of the pool.

    It is handed one that fails. Only the dictionary of its extensions is the same in
    httpx and in httpcore.
    """
    if pool is None:
        return
    with pool._optional_thread_lock:
        for waiting in pool._requests:
            if waiting.request.extensions is extensions and waiting.is_queued():
                waiting.assign_to_connection(_NoConnection(_library(pool)))


class _NoConnection:
    def __init__(self, library: str) -> None:
        self._error = sys.modules[library].PoolTimeout

    def handle_request(self, _: object) -> object:
        raise self._error(str(Cut()))


def _library(pool: object) -> str:
    """Httpcore or httpcore2."""
    for kind in type(pool).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in {"httpcore", "httpcore2"}:
            return root
    raise TypeError(f"{pool!r} is no connection pool of httpcore or httpcore2")


class _Backend:
    """httpcore's network backend for threads; connects by itself."""

    def __init__(self, inner: Any, library: str) -> None:
        self._inner = inner
        self._errors: Any = sys.modules[library]
        sync = importlib.import_module(f"{library}._backends.sync")
        self._is_usual = type(inner) is sync.SyncBackend
        self._stream_of = sync.SyncStream

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> _Stream:
        ctx = current()
        if not can_end(ctx) or not self._is_usual:
            stream = self._inner.connect_tcp(
                host, port, timeout, local_address, socket_options
            )
            return _Stream(stream, self._errors)
        no_delay = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = connect(
                ctx,
                host,
                port,
                timeout=timeout,
                source_address=(local_address, 0) if local_address else None,
                options=[*(socket_options or ()), no_delay],
            )
        except TimeoutError as exc:
            raise self._errors.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise self._errors.ConnectError(str(exc)) from exc
        return _Stream(self._stream_of(sock), self._errors)

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> _Stream:
        stream = self._inner.connect_unix_socket(path, timeout, socket_options)
        return _Stream(stream, self._errors)

    def sleep(self, seconds: float) -> None:
        current().sleep(seconds)


class _Stream:
    """One connection of httpcore's."""

    def __init__(self, inner: Any, errors: Any) -> None:
        self._inner = inner
        self._errors = errors
        self._sock: socket.socket | None = inner.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        ctx = current()
        data: bytes
        if self._sock is None or not can_end(ctx):
            data = self._inner.read(max_bytes, timeout)
            return data
        try:
            with cutting(ctx, self._sock):
                data = self._inner.read(max_bytes, timeout)
        except Cut as exc:
            raise self._errors.ReadError(str(exc)) from exc
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        ctx = current()
        if self._sock is None or not can_end(ctx):
            self._inner.write(buffer, timeout)
            return
        try:
            with cutting(ctx, self._sock):
                self._inner.write(buffer, timeout)
        except Cut as exc:
            raise self._errors.WriteError(str(exc)) from exc

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> _Stream:
        ctx = current()
        if self._sock is None or not can_end(ctx):
            stream = self._inner.start_tls(ssl_context, server_hostname, timeout)
            return _Stream(stream, self._errors)
        stream = self._inner
        try:
            with cutting_handshake(ctx, self._sock):
                stream = stream.start_tls(ssl_context, server_hostname, timeout)
        except Cut as exc:
            stream.close()
            raise self._errors.ConnectError(str(exc)) from exc
        return _Stream(stream, self._errors)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
