"""The socket of a connection, each call on which ends with the context.

A wait for an answer happens here, in `poll`, and so the thread that waits is the one
that acts when the context ends: nothing comes from elsewhere, and nothing too late.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from ssl import SSLSocket
from typing import Any, Protocol, TypeVar, final
from weakref import proxy

from tether import Context, current
from tether._calls import Cut, can_end, cutting, shut
from tether._clock import INF

A = TypeVar("A")
T = TypeVar("T")


class Owner(Protocol):
    """What a socket wants to know of its connection."""

    tether_subscribed: bool
    """Whether it waits for messages, of which none is lost if it stops waiting."""
    tether_blocks: bool
    """Whether the command that was sent last is one that the server lets wait."""
    tether_grace: float

    def tether_unblock(self, until: float, answered: Callable[[float], bool]) -> None:
        """Have the server end that command, until it has answered."""


@final
class Socket:
    """Stands for a connected socket."""

    def __init__(self, sock: socket.socket, owner: Owner) -> None:
        self._sock = sock
        self._owner: Owner = proxy(owner)  # which has this socket
        self._over = INF  # when the patience with a command ends whose context has

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        self._over = INF
        ctx = current()
        if not can_end(ctx):
            self._sock.sendall(data)
            return
        if self._owner.tether_blocks:
            # Cut off from an answer that has a meaning; and it is short.
            if ctx.done():
                raise Cut
            self._sock.sendall(data)
            return
        with cutting(ctx, self._sock):
            self._sock.sendall(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:  # a look whether it is closed
            return self._sock.recv(size, flags)
        return self._receive(self._sock.recv, size)

    def recv_into(self, buffer: Any) -> int:
        return self._receive(self._sock.recv_into, buffer)

    def _receive(self, method: Callable[[A], T], arg: A) -> T:
        ctx = current()
        timeout = self._sock.gettimeout()
        if timeout == 0 or not can_end(ctx):
            return method(arg)
        if not self.wait(ctx, timeout):
            raise TimeoutError("timed out")
        if not isinstance(self._sock, SSLSocket):
            return method(arg)
        # What has arrived may be a part of a record only.
        if not ctx.done():
            with cutting(ctx, self._sock):
                return method(arg)
        self._sock.settimeout(self._owner.tether_grace)
        try:
            return method(arg)
        finally:
            self._sock.settimeout(timeout)

    def wait(self, ctx: Context, timeout: float | None) -> bool:
        """Whether something can be read before `timeout`; `Cut` if `ctx` ends first.

        Whoever waits for an answer is then cut off from it: it would be taken for the
        answer to the next command.
        """
        sock, told = self._sock, ctx.fileno()
        if isinstance(sock, SSLSocket) and sock.pending():
            return True
        ready = _poll(timeout, sock.fileno(), told)
        if ready != [told]:
            return bool(ready)
        if self._owner.tether_subscribed:
            raise Cut
        if self._owner.tether_blocks:
            if self._over == INF:
                self._over = time.monotonic() + self._owner.tether_grace
            self._owner.tether_unblock(self._over, self.is_readable)
            if self.is_readable(0):
                return True
        shut(self._sock)
        raise Cut

    def is_readable(self, timeout: float) -> bool:
        """Whether something can be read within so many seconds, whoever has ended."""
        sock = self._sock
        if isinstance(sock, SSLSocket) and sock.pending():
            return True
        return bool(_poll(timeout, sock.fileno()))


def _poll(timeout: float | None, *fds: int) -> list[int]:
    """Which of the descriptors can be read; -1 if one was closed."""
    poll = select.poll()
    for fd in fds:
        if fd < 0:
            return [-1]
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]
