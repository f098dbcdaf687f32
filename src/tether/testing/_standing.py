"""Whether a thread goes on by itself, waits for another thread, or for the outside.

On Linux the kernel says so. A thread is blocked if it sleeps and has not been on a
processor between two looks: the count of its context switches has not changed. That is
true on a machine under load too, where a thread that could run may get no processor for
a long time (its state is then R), and it tells those that wait for the interpreter
lock, who sleep like everybody else, but are woken every switch interval. What a blocked
thread waits in is in `wchan`: a futex is a lock, which another thread will release;
anything else (a socket, a timer, a child process) comes from outside.

Elsewhere, and for threads that were not started by `threading`, it is a guess: one that
has stood at the same instruction for STILL seconds is blocked, on a lock if that is in
one of the modules that wait for locks.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from enum import Enum
from pathlib import Path, PurePath
from time import monotonic  # the real one: a bubble replaces time.monotonic
from types import FrameType
from typing import final

STILL = 0.03
TASKS = Path("/proc/self/task")
WAITING = {"threading.py", "queue.py", "thread.py"}


class Standing(Enum):
    """How a thread stands."""

    RUNNING = "goes on by itself"
    LOCKED = "waits for another thread"
    OUTSIDE = "waits for something from outside"
    FOREIGN = "may be waiting for a thread outside of its bubble"


@final
class Looks:
    """What was seen of some threads, to compare the next look with."""

    def __init__(self) -> None:
        self._kernel: dict[int, tuple[int, float]] = {}
        self._frames: dict[int, tuple[FrameType, int, float]] = {}

    def at(self, idents: Iterable[int]) -> dict[int, Standing]:
        """How each of these threads stands now; those that have ended are left out.

        RUNNING until a later look has shown that it is not.
        """
        natives = {one.ident: one.native_id for one in threading.enumerate()}
        seen = {ident: self._look(ident, natives.get(ident)) for ident in idents}
        for old in [*self._kernel.keys() - seen.keys()]:
            del self._kernel[old]
        for old in [*self._frames.keys() - seen.keys()]:
            del self._frames[old]
        return {ident: how for ident, how in seen.items() if how is not None}

    def _look(self, ident: int, native: int | None) -> Standing | None:
        told = None if native is None else _kernel(native)
        if told is None:
            return self._guess(ident)
        asleep, switches, lock = told
        now = monotonic()
        before, since = self._kernel.get(ident, (-1, now))
        if not asleep or switches != before:
            self._kernel[ident] = switches if asleep else -1, now
            return Standing.RUNNING
        if now - since < 1.5 * sys.getswitchinterval() + 0.001:
            return Standing.RUNNING
        return Standing.LOCKED if lock else Standing.OUTSIDE

    def _guess(self, ident: int) -> Standing | None:
        frame = sys._current_frames().get(ident)
        if frame is None:
            return None
        now = monotonic()
        seen = self._frames.get(ident)
        if seen is None or seen[0] is not frame or seen[1] != frame.f_lasti:
            self._frames[ident] = frame, frame.f_lasti, now
            return Standing.RUNNING
        if now - seen[2] < STILL:
            return Standing.RUNNING
        name = PurePath(frame.f_code.co_filename).name
        return Standing.LOCKED if name in WAITING else Standing.OUTSIDE


def is_there(thread: threading.Thread) -> bool:
    """Whether the system still has its thread, as far as it tells (Linux)."""
    native = thread.native_id
    return native is not None and (TASKS / str(native)).exists()


def _kernel(native: int) -> tuple[bool, int, bool] | None:
    """Whether it sleeps, its context switches, whether in a lock; None: unknown."""
    try:
        asleep, switches = _status(native)
        place = (TASKS / str(native) / "wchan").read_text(encoding="ascii")
        if asleep and place in {"", "0"}:
            # It has been woken between the two, or this kernel does not tell.
            if _status(native) == (asleep, switches):
                return None
            asleep = False
    except (OSError, KeyError, ValueError):
        return None  # another system, or it has ended
    return asleep, switches, place.startswith("futex")


def _status(native: int) -> tuple[bool, int]:
    text = (TASKS / str(native) / "status").read_text(encoding="ascii")
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return lines["State"].split()[0] not in {"R", "W"}, sum(
        int(lines[name])
        for name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    )
