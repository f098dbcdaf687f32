"""SIGUSR2 writes a look as text to stderr, whatever the main thread does.

A handler of Python's runs between two steps of the main thread: never while that is
stuck in C. Of the wake-up descriptor there is one a process, and an event loop takes
it. A handler of `faulthandler` runs in C, at once, in whichever thread; that it writes
to a pipe wakes a thread of ours.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import traceback
from contextlib import suppress

from ._text import text
from ._watch import Watch

_QUIET = 0.05  # seconds: the handler writes in several pieces
_lock = threading.Lock()
_pid = 0
_pipe: tuple[int, int] | None = None


def on_signal() -> None:
    """Have SIGUSR2 write what the live page shows, as text, to stderr.

    Also while the main thread is stuck in C or an event loop is blocked. From any
    thread; it replaces another handler of that signal. A forked child has to call it
    again; called twice in one process: nothing. From then on contexts are noted, as by
    `serve`. `RuntimeError` where there is no such signal.
    """
    global _pid, _pipe
    number = getattr(signal, "SIGUSR2", None)
    if number is None:
        raise RuntimeError("this system has no SIGUSR2")
    with _lock:
        if _pid == os.getpid():
            return
        read, write = _pipe = _pipe or _new_pipe()
        watch = Watch()
        watch.open()
        threading.Thread(
            target=_wait, args=(read, watch), name="tether-debug-signal", daemon=True
        ).start()
        faulthandler.register(number, write, all_threads=False)
        _pid = os.getpid()


def _wait(read: int, watch: Watch) -> None:
    while os.read(read, 65536):
        while select.select([read], [], [], _QUIET)[0]:
            os.read(read, 65536)
        try:
            said = text(watch.look())
        except Exception:
            said = f"the look has failed, please report it:\n{traceback.format_exc()}"
        left = said.encode("utf-8", "replace")
        with suppress(OSError):  # stderr is closed, or full: not the next time
            while left:
                left = left[os.write(2, left) :]


def _new_pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(write, False)  # a handler must not wait for us
    return read, write


def _in_a_forked_child() -> None:
    """Have its signals no longer tell the parent, which would answer for it.

    The handler in C keeps the number of its descriptor: that becomes another pipe.
    """
    global _lock
    _lock = threading.Lock()
    if _pipe is not None:
        for old, new in zip(_pipe, _new_pipe(), strict=True):
            os.dup2(new, old, inheritable=False)
            os.close(new)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
