"""The HTTP server of the live page, in daemon threads of its own.

It shares nothing with the program's event loops, so it answers when they do not.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Self, final

from . import _access, _signal, _sockets
from ._groups import OURS
from ._http import HTTP, page
from ._model import Look
from ._watch import Watch, note_loop

_TWICE = (
    "the live page of this process is at {url} already: close() that one first, or "
    "use it"
)
_NO_PORT = "a port= is a whole number from 0 to 65535, or None: {port!r}"
_NO_HOST = (
    "the live page cannot listen on {host}: {why}; give host= a name or an address of "
    "this machine"
)
_NO_SOCKET = (
    "the live page is at its port alone, `tether top` does not find it without: {why}; "
    "give path= a place for its socket"
)
_TAKEN = (
    "the live page cannot listen on {host}:{port}: {why}; give another port=, or 0 for "
    "any that is free"
)

_NOWHERE = {errno.EADDRNOTAVAIL}

_lock = threading.Lock()
_current: Server | None = None


def serve(
    port: int | None = 6060,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    path: str | os.PathLike[str] | None = None,
    signal: bool = False,
) -> Server:
    """The live page of this process: tasks, threads, contexts, and who holds what.

    It listens on `host` and `port` (0: any that is free; None: on no port), and on a
    unix socket for `tether top`: at `path`, by default in a folder of this user's.
    Threads of its own answer, also while an event loop is stuck. Contexts that are
    older than the call are on it as well. With `signal=True`, SIGUSR2 writes the same
    as text until the page is closed, and then does nothing; see `on_signal`.

    Whoever is not on this machine needs the `token`, 16 characters or more: without
    one, a `host` that others can reach is refused (`ValueError`). `RuntimeError` if the
    page is open already, `OSError` if the port or the path is taken. If only the folder
    for the socket cannot be used, a `RuntimeWarning` says so, and the port does.

        >>> from tether import debug
        >>> with debug.serve(port=0) as page:
        ...     print(page.url.startswith("http://127.0.0.1:"))
        True
    """
    global _current
    _access.check(host, token)
    if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
        raise TypeError(_NO_PORT.format(port=port))
    if port is not None and not 0 <= port < 65536:
        raise ValueError(_NO_PORT.format(port=port))
    note_loop()
    with _lock:
        if _current is not None and _current.pid == os.getpid():
            raise RuntimeError(_TWICE.format(url=_current.url))
        page = _current = Server(port, host, token, path)
    if signal:
        page._signals = _signal.answer()
    return page


@final
class Server:
    """What `serve` returns. As a context manager it is closed at the end."""

    def __init__(
        self,
        port: int | None,
        host: str,
        token: str | None,
        path: str | os.PathLike[str] | None,
    ) -> None:
        self.pid = os.getpid()
        """Of the process: in a forked child there is no page."""
        self.path: Path | None = None
        """The unix socket; None where there are none, or no folder could be used."""
        self._watch = Watch()
        self._signals = False  # whether it has them answered
        self._servers: list[HTTP] = []
        self._host = host
        self._watch.open()
        try:
            page()
            if port is not None:
                self._servers.append(_listen(host, port, self._watch, token))
            if hasattr(socket, "AF_UNIX"):
                self._listen_on_socket(path)
        except BaseException:
            for server in self._servers:
                server.server_close()
            self._watch.close()
            raise
        for server in self._servers:
            threading.Thread(
                target=server.serve_forever, name=OURS, daemon=True
            ).start()

    def _listen_on_socket(self, path: str | os.PathLike[str] | None) -> None:
        """On the socket. A port alone will do, if no folder was asked for."""
        try:
            if path is not None:
                self.path = Path(path)
                sock = _sockets.bind(self.path)
            else:
                self.path, sock = _sockets.listen()
        except OSError as error:
            if path is not None or not self._servers:
                raise
            warnings.warn(_NO_SOCKET.format(why=error), RuntimeWarning, stacklevel=4)
        else:
            self._servers.append(HTTP(sock, self._watch, None, local=True))

    @property
    def port(self) -> int | None:
        """The port it listens on; None: on none."""
        for server in self._servers:
            if not server.local:
                return int(server.server_address[1])
        return None

    @property
    def url(self) -> str:
        """Where the page is, for a browser; the socket if it listens on no port."""
        if self.port is None:
            return f"unix:{self.path}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/"

    def look(self) -> Look:
        """What the page would show now."""
        return self._watch.look()

    def close(self) -> None:
        """End it. Again: nothing."""
        global _current
        with _lock:
            if _current is self:
                _current = None
            servers, self._servers = self._servers, []
        if not servers:
            return
        for server in servers:
            if self.pid == os.getpid():
                server.shutdown()
            server.server_close()
        if self._signals:
            _signal.ignore()
        self._watch.close()
        if self.path is not None and self.pid == os.getpid():
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()


def _listen(host: str, port: int, watch: Watch, token: str | None) -> HTTP:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        if os.name == "posix":  # elsewhere it lets two listen on one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(16)
    except OSError as error:
        sock.close()
        nowhere = isinstance(error, socket.gaierror) or error.errno in _NOWHERE
        text = _NO_HOST if nowhere else _TAKEN
        said = text.format(host=host, port=port, why=error.strerror or error)
        raise OSError(error.errno, said) from None
    except BaseException:
        sock.close()
        raise
    return HTTP(sock, watch, token, local=False)


def _in_a_forked_child() -> None:
    """Give up the places of the parent: nobody would answer there."""
    global _lock
    _lock = threading.Lock()
    if _current is not None:
        for server in _current._servers:
            server.server_close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
