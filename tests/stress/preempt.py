"""Stops one piece of code at a chosen point inside tether and runs another there.

The interpreter lets signal handlers, finalizers and other threads in at a few kinds of
instruction only: at the beginning of a function, after a call, at a jump backward. So
the points of a piece of code can be counted, and each tried in turn: what a random test
meets once in a million runs comes up here in every run.
"""

from __future__ import annotations

import opcode
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import tether
from tether import _timers, _tree

PACKAGE = str(Path(tether.__file__).parent)
LONG = 20.0

Piece = Callable[[], object]

LETS_IN = {
    number
    for number, name in enumerate(opcode.opname)
    if ("CALL" in name and name != "PRECALL") or "RESUME" in name or "BACKWARD" in name
}


class Points:
    """Traces a piece of code and calls `at_point` at the point with this number."""

    def __init__(self, number: int, at_point: Piece) -> None:
        self.left = number
        self.at_point = at_point
        self.reached = False
        self._last: dict[FrameType, int] = {}

    def run(self, piece: Piece) -> object:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return piece()
        finally:
            sys.settrace(before)
            self._last.clear()

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self._point()
        return self._step

    def _step(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            if self._last.get(frame) in LETS_IN:
                self._point()
            self._last[frame] = frame.f_code.co_code[frame.f_lasti]
        return self._step

    def _point(self) -> None:
        self.left -= 1
        if self.left == -1:
            self.reached = True
            self.at_point()


def inside(first: Piece, second: Piece, number: int) -> bool:
    """Run `second` in the middle of `first`, as a signal handler or finalizer would.

    False if there is no point with this number; then it runs afterwards.
    """
    points = Points(number, second)
    points.run(first)
    if not points.reached:
        second()
    return points.reached


class Partner:
    """A second thread, which runs pieces of code on request."""

    def __init__(self) -> None:
        self._piece: Piece | None = None
        self._go = threading.Semaphore(0)
        self._error: BaseException | None = None
        self.done = threading.Event()
        self.paused = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._piece = None
        self._go.release()

    def _serve(self) -> None:
        while True:
            self._go.acquire()
            if self._piece is None:
                return
            try:
                self._piece()
            except BaseException as exc:
                self._error = exc
            self._piece = None
            self.paused.set()
            self.done.set()

    def begin(self, piece: Piece) -> None:
        self.done.clear()
        self.paused.clear()
        self._piece = piece
        self._go.release()

    def end(self) -> None:
        assert self.done.wait(LONG), "the other thread hangs"
        error, self._error = self._error, None
        if error is not None:
            raise error


def between(
    first: Piece,
    second: Piece,
    number: int,
    back: int | None,
    partner: Partner,
    *,
    meanwhile: Piece = lambda: None,
    blocks: bool = False,
) -> tuple[bool, bool]:
    """Run both in two threads with one or two changes of turns.

    `first` runs to the point `number`, then `second` to the point `back` (or its end),
    then the rest of `first`, then the rest of `second`. A thread that waits for a lock
    of the other loses its turn. Which of the two points were there.
    """
    finished = threading.Event()

    def give_back() -> None:
        partner.paused.set()
        finished.wait(0.001 if owns_a_lock() else LONG)

    points_back = Points(-1 if back is None else back, give_back)

    def turn() -> None:
        partner.begin(lambda: points_back.run(second))
        partner.paused.wait(0.001 if blocks or owns_a_lock() else LONG)

    points = Points(number, turn)
    try:
        points.run(first)
    finally:
        finished.set()
    if not points.reached:
        partner.begin(second)
    meanwhile()
    partner.end()
    return points.reached, points_back.reached


def owns_a_lock() -> bool:
    """Whether this thread is in a section that the other cannot enter."""
    locks: list[Any] = [_tree.lock, _timers.threads._lock]
    return any(lock._is_owned() for lock in locks)
