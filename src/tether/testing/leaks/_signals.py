"""Handlers of signals that are not what they were when watching began."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Hashable
from functools import partial
from typing import final

from ..._where import name_of
from ._found import Found
from ._leak import Leak

_SIGNALS = sorted(signal.valid_signals())
# Not signal's own, which looks for the name of each answer: twenty times as long.
_getsignal = _signal.getsignal


@final
class Signals:
    """The handlers that have changed. Each is a new thing, and so a leak."""

    def __init__(self) -> None:
        self._before: list[object] | None = None

    def note(self) -> None:
        """What they are at the next look is what they should be."""
        self._before = None

    def now(self) -> dict[Hashable, Found]:
        now: list[object] = [*map(_getsignal, _SIGNALS)]
        if self._before is None:
            self._before = now
        if now == self._before:
            return {}
        if threading.current_thread() is not threading.main_thread():
            return {}
        handlers = zip(_SIGNALS, now, self._before)
        return {
            ("signal", number, _key(handler)): Found(
                None, partial(_told, number, handler)
            )
            for number, handler, before in handlers
            if handler is not before
        }


def _key(handler: object) -> Hashable:
    return handler if isinstance(handler, Hashable) else id(handler)


def _told(number: int, handler: object) -> Leak:
    if isinstance(handler, int):
        shown = signal.Handlers(handler).name
    else:
        shown = name_of(handler) if callable(handler) else str(handler)
    name = signal.Signals(number).name if number in {*signal.Signals} else str(number)
    cure = "put the old handler back; tether.signals.with_signals does"
    return Leak("signal handler", f"{name} is now {shown}", (), cure)
