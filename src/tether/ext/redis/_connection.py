"""Connections that obey `current()`: with a socket and with retries of ours."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tether import ContextError, background, current
from tether._calls import Cut, can_end, connect, cutting_handshake

from ._commands import ASK_AGAIN, may_block
from ._library import redis
from ._retry import Retry
from ._socket import Socket

if TYPE_CHECKING:

    class _Base:
        """What is overridden in redis-py's connections, which are without types."""

        _sock: Any
        send_command: Callable[..., None]
        send_packed_command: Callable[..., None]
        read_response: Callable[..., Any]
        check_health: Callable[[], None]
        can_read: Callable[..., Any]
        register_connect_callback: Callable[..., None]
        deregister_connect_callback: Callable[..., None]
        _connect: Callable[..., Any]
        connect: Callable[[], None]

else:
    _Base = object


@lru_cache(maxsize=64)
def obeying(kind: type, grace: float) -> type:
    """The class of connections that obey `current()`."""
    if issubclass(kind, _Connection):
        return obeying(kind.__mro__[2], grace)
    return type(kind.__name__, (_Connection, kind), {"tether_grace": grace})


class _Connection(_Base):
    """What is added to each kind of connection."""

    tether_grace: float
    tether_subscribed = False
    tether_blocks = False
    _tether_next = False  # whether the next to be sent is one that may block
    _tether_id: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tether_kwargs = kwargs
        super().__init__(*args, **kwargs)

    @property
    def retry(self) -> Any:
        return self._tether_retry

    @retry.setter
    def retry(self, retry: Any) -> None:
        self._tether_retry = retry if isinstance(retry, Retry) else Retry(retry)

    # -- connecting --------------------------------------------------------------

    def connect(self) -> None:
        self._tether_retry.call(super().connect)

    def _connect(self) -> Any:
        self._tether_id = None
        self.tether_blocks = False
        ctx = current()
        if not can_end(ctx) or not isinstance(self, redis.Connection):
            sock = super()._connect()
        elif isinstance(self, redis.SSLConnection):
            plain = self._tether_connect(self)
            try:
                with cutting_handshake(ctx, plain):
                    sock = self._wrap_socket_with_ssl(plain)
            except BaseException:
                plain.close()
                raise
        else:
            sock = self._tether_connect(self)
        return Socket(sock, self)

    @staticmethod
    def _tether_connect(of: redis.Connection) -> socket.socket:
        options: list[tuple[int, int, Any]] = [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ]
        if of.socket_keepalive:
            options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
            for name, value in of.socket_keepalive_options.items():
                options.append((socket.IPPROTO_TCP, name, value))
        timeout = of.socket_connect_timeout
        sock = connect(
            current(), of.host, int(of.port), timeout=timeout, options=options
        )
        sock.settimeout(of.socket_timeout)
        return sock

    # -- commands ----------------------------------------------------------------

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        if may_block(args) and can_end(current()):
            if self._sock is not None and kwargs.get("check_health", True):
                self.check_health()  # now, so that nothing goes before it later
            if self._sock is None or self._tether_id is None:
                self._tether_id = self._tether_ask_id()
            self._tether_next = self._tether_id > 0
            kwargs["check_health"] = False
        super().send_command(*args, **kwargs)

    def _tether_ask_id(self) -> int:
        super().send_command("CLIENT", "ID")
        try:
            return int(self.read_response())
        except redis.exceptions.ResponseError:
            return 0  # not allowed to know

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        self.tether_blocks, self._tether_next = self._tether_next, False
        super().send_packed_command(*args, **kwargs)

    def can_read(self, timeout: float = 0) -> Any:
        ctx = current()
        sock: Any = self._sock
        if timeout == 0 or not can_end(ctx) or not isinstance(sock, Socket):
            return super().can_read(timeout)
        if super().can_read(0):
            return True
        try:
            sock.wait(ctx, timeout)
        except Cut as exc:
            raise redis.exceptions.ConnectionError(str(exc)) from exc
        return super().can_read(0)

    def register_connect_callback(self, callback: Any) -> None:
        # So a subscription that has it now will resubscribe; others have other reasons.
        if isinstance(getattr(callback, "__self__", None), redis.client.PubSub):
            self.tether_subscribed = True
        super().register_connect_callback(callback)

    def deregister_connect_callback(self, callback: Any) -> None:
        self.tether_subscribed = False
        super().deregister_connect_callback(callback)

    # -- ending one --------------------------------------------------------------

    def tether_unblock(self, until: float, answered: Callable[[float], bool]) -> None:
        """Have the server end the command that waits there, until it has answered."""
        helper: Any = None
        try:
            with background().with_deadline(until):
                helper = self._tether_helper()
                while time.monotonic() < until:
                    helper.send_command("CLIENT", "UNBLOCK", self._tether_id, "ERROR")
                    helper.read_response()
                    if answered(ASK_AGAIN):
                        return
        except (redis.exceptions.RedisError, OSError, ContextError):
            return  # not allowed, not reachable, not in time: then it is cut
        finally:
            if helper is not None:
                helper.disconnect()

    def _tether_helper(self) -> Any:
        """Another connection to the same server."""
        kwargs = {**self._tether_kwargs, "retry": None, "retry_on_error": []}
        kind = type(self)
        if isinstance(self, redis.sentinel.SentinelManagedConnection):
            del kwargs["connection_pool"]
            with_tls = isinstance(self, redis.SSLConnection)
            plain = redis.SSLConnection if with_tls else redis.Connection
            kind = obeying(plain, self.tether_grace)
        if isinstance(self, redis.Connection):
            kwargs |= {"host": self.host, "port": self.port}
        return kind(**kwargs)
