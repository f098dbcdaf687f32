"""The event loops of the process, and whether they still turn.

Asked from a thread of our own, which answers when no loop does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType
from weakref import WeakKeyDictionary

from .. import _loops as known
from .._loops import Loop, task_of

PATIENCE = 0.25  # seconds that a loop has to answer; then it is called stuck


@dataclass(frozen=True)
class LoopLook:
    """One event loop at one look."""

    thread: str
    lag: float
    """Seconds it took to answer; so far, if it is stuck."""
    stuck: bool
    task: str
    """The task that keeps it from answering; "": none, or it is not stuck."""
    at: str
    """Where that is."""


class Beats:
    """Asks each loop to answer, one question at a time."""

    def __init__(self) -> None:
        self._open: WeakKeyDictionary[Loop, Beat] = WeakKeyDictionary()

    def ask(self, loops: Iterable[Loop]) -> dict[Loop, Beat]:
        """The question that each loop has still to answer, or a new one."""
        asked: dict[Loop, Beat] = {}
        for loop in loops:
            beat = self._open.get(loop)
            if beat is None or beat.answered.is_set():
                beat = self._open[loop] = Beat()
                known.call_soon(loop, beat.answer)
            asked[loop] = beat
        return asked


class Beat:
    """A question to a loop."""

    def __init__(self) -> None:
        self.asked = time.monotonic()
        self.lag = 0.0
        self.answered = threading.Event()

    def answer(self) -> None:
        """In the loop."""
        self.lag = time.monotonic() - self.asked
        self.answered.set()


def look(loop: Loop, ident: int, beat: Beat) -> LoopLook:
    """What is known of a loop; waits a moment for its answer."""
    left = PATIENCE - (time.monotonic() - beat.asked)
    answered = beat.answered.wait(max(0.0, left))
    lag = beat.lag if answered else time.monotonic() - beat.asked
    name = next(
        (one.name for one in threading.enumerate() if one.ident == ident),
        "a thread unknown",
    )
    if answered:
        return LoopLook(name, lag, stuck=False, task="", at="")
    task = task_of(loop)
    return LoopLook(
        name,
        lag,
        stuck=True,
        task="" if task is None else task.get_name(),
        at=line(sys._current_frames().get(ident)),
    )


def line(frame: FrameType | None) -> str:
    """The line a frame is at."""
    if frame is None:
        return ""
    code = frame.f_code
    number = frame.f_lineno or code.co_firstlineno  # at an instruction of no line: None
    return f"{code.co_filename}:{number} in {code.co_qualname}"
