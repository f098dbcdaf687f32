"""Handlers of signals that are not what they were."""

from __future__ import annotations

import signal
import threading
from collections.abc import Hashable
from functools import partial
from typing import final

from ..._where import name_of
from ._found import Found
from ._leak import Leak

_SIGNALS = sorted(signal.valid_signals())
# Without the wrapper that looks for names, at each look.
_getsignal = getattr(signal.getsignal, "__wrapped__", signal.getsignal)


@final
class Signals:
    """The handler of each signal. A changed one is a new thing, and so a leak."""

    def __init__(self) -> None:
        self._seen: list[object] = []
        self._found: dict[Hashable, Found] = {}

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def now(self) -> dict[Hashable, Found]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        handlers = [*map(_getsignal, _SIGNALS)]
        if handlers != self._seen:
            self._seen = handlers
            self._found = {
                ("signal", number, _key(handler)): Found(
                    None, partial(_told, number, handler)
                )
                for number, handler in zip(_SIGNALS, handlers, strict=True)
            }
        return self._found


def _key(handler: object) -> Hashable:
    return handler if isinstance(handler, Hashable) else id(handler)


def _told(number: int, handler: object) -> Leak:
    shown = name_of(handler) if callable(handler) else str(handler)
    name = signal.Signals(number).name if number in {*signal.Signals} else str(number)
    cure = "put the old handler back; tether.signals.with_signals does"
    return Leak("signal handler", f"{name} is now {shown}", (), cure)
