"""The signals of a program: told of each once, whatever the main thread is doing.

Rules

1.  Signals are counted in two ways: by the handler, which the main thread runs between
    two steps of Python, and by the bytes that the C handler writes
    (`signal.set_wakeup_fd`), which a thread of ours reads. The larger count holds. So a
    main thread that is blocked in C is no reason to miss a signal, and an event loop
    that takes the descriptor for itself (`add_signal_handler`) is none either. uvloop
    does so whenever it runs; `take_over` goes before it and hands the bytes on.
2.  Bytes of signals whose handler is somebody else's (uvicorn's, while it serves) do
    not count: they are his, and he may hand them on to ours later.
3.  A forked child is no part of the program: it has the handlers that were there before
    and does not write to the parent's descriptor.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import final

from ._errors import RUN_IN_RUN
from .signals import Handlers, refuse_other_threads

LONG = 3600.0  # what one wait for a socket can take

_active: Listener | None = None


@final
class Listener:
    """Calls `told(signum, count)` for each signal, in whichever thread is first.

    `wait()` is asked after each signal how long to sleep at most (None: until the next
    one); it is where the thread that can always act does so.
    """

    def __init__(
        self,
        signals: list[int],
        told: Callable[[int, int], object],
        wait: Callable[[], float | None],
    ) -> None:
        self._signals = signals
        self._told = told
        self._wait = wait
        self._lock = threading.RLock()  # the handler may interrupt whoever holds it
        self._handled = self._written = self._count = 0
        self._handlers: Handlers | None = None
        self._pipe: tuple[socket.socket, socket.socket] | None = None
        self._watcher: threading.Thread | None = None
        self._mine = False  # whether the bytes come to us
        self._behind = -1  # the descriptor that gets the bytes after us

    def start(self) -> None:
        global _active
        refuse_other_threads("run", "pass signals=() to run without")
        if _active is not None:
            raise RuntimeError(RUN_IN_RUN)
        _active = self
        try:
            read, write = self._pipe = socket.socketpair()
            write.setblocking(False)
            before = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
            self._mine = before == -1
            if not self._mine:
                signal.set_wakeup_fd(before)  # somebody relies on it; handlers will do
            self._watcher = threading.Thread(
                target=self._watch, args=(read,), name="tether-signals", daemon=True
            )
            self._watcher.start()
            self._handlers = Handlers(self._signals, self._handle)
            self._handlers.set()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        global _active
        if self._handlers is not None:
            self._handlers.restore()
        if self._pipe is not None:
            read, write = self._pipe
            fd = signal.set_wakeup_fd(-1)
            if fd not in {-1, write.fileno()}:
                signal.set_wakeup_fd(fd)
            write.close()
            if self._watcher is not None:
                self._watcher.join()
            read.close()
        _active = None

    def take_over(self) -> None:
        """Read the bytes again, in a loop that has begun to read them itself."""
        if self._pipe is not None and self._mine:
            with self._lock:
                fd = signal.set_wakeup_fd(
                    self._pipe[1].fileno(), warn_on_full_buffer=False
                )
                if fd != self._pipe[1].fileno():
                    self._behind = fd

    def give_back(self) -> None:
        """Before that loop closes its descriptor, whose number may be used again."""
        with self._lock:
            if self._behind != -1:
                signal.set_wakeup_fd(self._behind, warn_on_full_buffer=False)
                self._behind = -1

    def forked(self) -> None:
        self._watcher = None  # it has stayed in the parent
        self.stop()

    def _handle(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._seen(signum, handled=1)
        assert self._pipe is not None
        try:
            self._pipe[1].send(b"\0")  # for the thread to ask how long to wait
        except OSError:
            return  # full of bytes that wake it just as well

    def _watch(self, read: socket.socket) -> None:
        while True:
            wait = self._wait()
            read.settimeout(None if wait is None else min(wait, LONG))
            try:
                numbers = read.recv(64)
            except (TimeoutError, BlockingIOError):
                continue
            if not numbers:
                return
            with self._lock:
                if self._behind != -1:
                    try:
                        os.write(self._behind, numbers.replace(b"\0", b""))
                    except OSError:
                        pass  # full of bytes that wake it just as well
            for signum in numbers:
                handlers = self._handlers  # None: not set yet
                if signum and handlers is not None and handlers.is_set(signum):
                    self._seen(signum, written=1)

    def _seen(self, signum: int, handled: int = 0, written: int = 0) -> None:
        with self._lock:
            self._handled += handled
            self._written += written
            count = max(self._handled, self._written)
            if count <= self._count:
                return  # the other way was quicker
            self._count = count
        self._told(signum, count)


def _in_a_forked_child() -> None:
    if _active is not None:
        _active.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
