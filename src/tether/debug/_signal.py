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

from ._groups import OURS
from ._text import text
from ._watch import Watch

_QUIET = 0.05  # seconds: the handler writes in several pieces
_lock = threading.Lock()
_pid = 0
_for_good = False
_pipe: tuple[int, int] | None = None
_nobody: int | None = None  # what the handler writes to, once nobody answers any more


def on_signal() -> None:
    """Have SIGUSR2 write what the live page shows, as text, to stderr.

    Also while an event loop is blocked, or the main thread is stuck in C, if that has
    let go of the interpreter lock. From any thread; it replaces another handler of that
    signal. A forked child has to call it again; called twice in one process: nothing.
    From then on contexts are noted, as by `serve`. `RuntimeError` where there is no
    such signal.
    """
    global _for_good
    answer()
    _for_good = True


def answer() -> bool:
    """Have it answered from now on; False: it is already."""
    global _pid, _pipe, _nobody
    number = getattr(signal, "SIGUSR2", None)
    if number is None:
        raise RuntimeError("this system has no SIGUSR2")
    with _lock:
        if _pid == os.getpid():
            return False
        read, write = _pipe = _pipe or _new_pipe()
        watch = Watch()
        watch.open()
        threading.Thread(
            target=_wait, args=(read, watch), name=f"{OURS}-signal", daemon=True
        ).start()
        faulthandler.register(number, write, all_threads=False)
        if _nobody is not None:
            os.close(_nobody)
            _nobody = None
        _pid = os.getpid()
        return True


def ignore() -> None:
    """Have it do nothing any more, unless `on_signal` was asked for.

    Without the handler it would end the process. That goes on to write to the number of
    its descriptor, where it is now the end of nothing; so the thread comes to its end.
    """
    global _pid, _pipe, _nobody
    with _lock:
        if _pid != os.getpid() or _for_good or _pipe is None:
            return
        _, _nobody = _pipe
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _nobody, inheritable=False)
        os.close(null)
        _pid, _pipe = 0, None


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
    watch.close()
    os.close(read)


def _new_pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(write, False)  # a handler must not wait for us
    return read, write


def _in_a_forked_child() -> None:
    """Have its signals no longer tell the parent, which would answer for it.

    The handler in C keeps the number of its descriptor: that becomes another pipe.
    """
    global _lock, _for_good
    _lock = threading.Lock()
    _for_good = False
    if _pipe is not None:
        for old, new in zip(_pipe, _new_pipe(), strict=True):
            os.dup2(new, old, inheritable=False)
            os.close(new)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_forked_child)
