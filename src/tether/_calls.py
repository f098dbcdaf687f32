"""Calls to other services: what the clients of `ext` have in common.

A blocking call on a socket ends early only if somebody shuts the socket down, so each
one that a client makes is made inside `cutting()`. Three things about that are known
from measurements:

- It has to be `socket.socket.shutdown`. That of an `SSLSocket` takes the TLS object
  away from under its reader, and `close()` does not wake a reader at all.
- An end of data that we have caused looks like an end of data: so a call that was cut
  raises `Cut`, whatever came out of it. It is an OSError, which every library takes for
  a broken connection, and so throws the connection away in its own manner.
- Resolving a name cannot be ended. It happens in a thread that may be left behind.

What the library raises then is translated where the call was made, by `translating()`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from functools import partial
from types import TracebackType
from typing import Any, final

from . import _pool, _watching
from ._clock import INF
from ._context import Context
from ._current import Pending
from ._current import var as _current
from ._errors import ContextError, append_cause

# After so long without an answer the next address is tried beside the first (RFC 8305).
NEXT_ADDRESS = 0.25

Address = tuple[int, int, int, str, Any]  # as getaddrinfo() gives them


class Cut(OSError):
    """A connection was cut because the context of its call had ended."""

    def __init__(self) -> None:
        super().__init__(errno.ECANCELED, "the context of the call has ended")


def can_end(ctx: Context) -> bool:
    """Whether anything can ever end it; if not, a call needs no care."""
    return ctx._tether_node() is not None


def shut(sock: socket.socket) -> None:
    """Wake whoever reads or writes this socket. From any thread."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # the other side was faster


@final
class under:  # noqa: N801
    """A block in a thread in which `ctx` is `current()`; raises if it is over.

    What a scope would do there, for a third of its price: nothing is to be interrupted.
    """

    __slots__ = ("_ctx", "_token")

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._token: Token[Context | Pending | None]

    def __enter__(self) -> None:
        self._ctx.check()
        self._token = _current.set(self._ctx)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


@final
class cutting:  # noqa: N801
    """A block in which calls on `sock` end when `ctx` ends, by raising `Cut`."""

    __slots__ = ("_block",)

    def __init__(self, ctx: Context, sock: socket.socket) -> None:
        self._block = ctx.interrupting(partial(shut, sock))

    def __enter__(self) -> None:
        try:
            self._block.__enter__()
        except ContextError:
            raise Cut from None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self._block.__exit__(exc_type, exc, tb)
        except ContextError:
            raise Cut from exc


@final
class cutting_handshake:  # noqa: N801
    """As `cutting`, for a call that takes the socket away from its object.

    To wrap a socket for TLS detaches it, and the new object is not to be had before
    the handshake is over. A second descriptor of the same connection does as well.
    """

    __slots__ = ("_block", "_twin")

    def __init__(self, ctx: Context, sock: socket.socket) -> None:
        self._twin = socket.socket(fileno=os.dup(sock.fileno()))
        self._block = cutting(ctx, self._twin)

    def __enter__(self) -> None:
        try:
            self._block.__enter__()
        except Cut:
            self._twin.close()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            self._block.__exit__(exc_type, exc, tb)
        finally:
            self._twin.close()


@final
class translating:  # noqa: N801
    """A block that raises the error of `ctx` in place of a library's, if it is over.

    The library's becomes its `__cause__`. Errors of other kinds pass, as does
    everything while the context lasts.
    """

    __slots__ = ("_ctx", "_kinds")

    def __init__(self, ctx: Context, kinds: tuple[type[Exception], ...]) -> None:
        self._ctx = ctx
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(exc, self._kinds) and not isinstance(exc, ContextError):
            instead_of(exc, self._ctx)


def instead_of(exc: BaseException, ctx: Context) -> None:
    """Raise the error of `ctx`, if it is over, from that of a library."""
    try:
        ctx.check()
    except (ContextError, asyncio.CancelledError) as error:
        append_cause(exc, error.__cause__)  # why it ended stays in the chain
        raise error from exc


@final
class hop:  # noqa: N801
    """A block in which a call is made within `ctx`, until its answer begins.

    For those who want to know how long such calls take, see `_watching`.
    """

    __slots__ = ("_told",)

    def __init__(self, ctx: Context, method: str | None, url: object) -> None:
        begun = _watching.hop
        self._told = None if begun is None else begun(ctx, method or "", url)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._told is not None:
            self._told(exc)


_NOTHING = nullcontext()


def statement(
    ctx: Context, system: str, said: object
) -> AbstractContextManager[object]:
    """A block around one statement of a database, told to the metrics and the traces.

    In a task it stands around all that the task waits for, a connection included. See
    `_watching`.
    """
    if _watching.calling is not None:
        _watching.calling(ctx.remaining(), system)
    begun = _watching.statement
    return _NOTHING if begun is None else begun(ctx, system, said)


# -- connecting ----------------------------------------------------------------------


def resolve(ctx: Context, host: str | None, port: int) -> list[Address]:
    """The addresses of a name; raises `Cut` as soon as the context ends.

    The thread that asks the system is one of tether's pool, which grows if need be.
    """

    def ask(flags: int = 0) -> list[Address]:
        kind = socket.SOCK_STREAM
        return [*socket.getaddrinfo(host, port, type=kind, flags=flags)]

    try:
        return ask(socket.AI_NUMERICHOST)  # nobody has to be asked
    except socket.gaierror:
        pass
    answer: list[list[Address] | BaseException] = []
    answered = ctx.with_cancel()

    def look_up() -> None:
        try:
            answer.append(ask())
        except BaseException as exc:
            answer.append(exc)
        answered.cancel()

    try:
        _pool.submit((look_up,))
        answered.wait()
    finally:
        answered.cancel()
    if not answer:
        raise Cut
    found = answer.pop()
    if isinstance(found, BaseException):
        try:
            raise found
        finally:
            del found
    return found


def connect(
    ctx: Context,
    host: str | None,
    port: int,
    *,
    timeout: float | None = None,
    source_address: tuple[str, int] | None = None,
    options: Iterable[tuple[Any, ...]] = (),
) -> socket.socket:
    """A connection to the first address of `host` that answers, within `ctx`.

    Raises `Cut` as soon as the context ends, TimeoutError after `timeout` seconds for
    all addresses together, the last address's OSError if none takes the connection.
    """
    until = INF if timeout is None else time.monotonic() + timeout
    attempts = _Attempts(ctx, resolve(ctx, host, port), source_address, [*options])
    try:
        sock = attempts.first(until)
    finally:
        attempts.close()
    sock.settimeout(timeout)
    return sock


@final
class _Attempts:
    """Several connections in the making, of which one will be taken."""

    def __init__(
        self,
        ctx: Context,
        addresses: list[Address],
        source_address: tuple[str, int] | None,
        options: list[tuple[Any, ...]],
    ) -> None:
        self._addresses = deque(addresses)
        self._source_address = source_address
        self._options = options
        self._error = OSError(f"no address to connect to: {addresses}")
        self._open: set[socket.socket] = set()
        self._next = 0.0  # when to begin with another address
        self._selector = selectors.DefaultSelector()
        self._selector.register(ctx.fileno(), selectors.EVENT_READ)

    def first(self, until: float) -> socket.socket:
        """The first that is connected."""
        while True:
            now = time.monotonic()
            if now >= until:
                raise TimeoutError("timed out")
            if self._addresses and now >= self._next:
                self._begin(self._addresses.popleft())
                continue
            if not self._open:
                raise self._error
            wake = min(until, self._next) if self._addresses else until
            ready = self._selector.select(None if wake == INF else wake - now)
            for key, _ in ready:
                if isinstance(key.fileobj, int):
                    raise Cut
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                if self._is_connected(key.fileobj):
                    self._open.discard(key.fileobj)
                    return key.fileobj

    def _begin(self, address: Address) -> None:
        family, kind, proto, _, where = address
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, proto)
            for option in self._options:
                sock.setsockopt(*option)
            if self._source_address is not None:
                sock.bind(self._source_address)
            sock.setblocking(False)
            sock.connect(where)
        except BlockingIOError:
            pass
        except OSError as exc:
            self._error = exc  # and at once the next one
            if sock is not None:
                sock.close()
            return
        assert sock is not None
        self._open.add(sock)
        self._selector.register(sock, selectors.EVENT_WRITE)
        self._next = time.monotonic() + NEXT_ADDRESS

    def _is_connected(self, sock: socket.socket) -> bool:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            return True
        self._error = OSError(code, os.strerror(code))
        self._selector.unregister(sock)
        self._open.discard(sock)
        sock.close()
        self._next = 0.0
        return False

    def close(self) -> None:
        """Give up all that is not connected."""
        del self._error  # its traceback leads here
        self._selector.close()
        for sock in self._open:
            sock.close()
