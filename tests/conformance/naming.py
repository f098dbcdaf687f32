"""Errors and keys: from their spelling in a script to objects, and back to text."""

from __future__ import annotations

import threading

from tether import Canceled, DeadlineExceeded, Key


class NamedError(Exception):
    """An error of a script; its name is its text."""


_OWN: dict[str, type[Exception]] = {"CANCELED": Canceled, "DEADLINE": DeadlineExceeded}
_CODES = {
    "context canceled": "canceled",
    "context deadline exceeded": "deadline exceeded",
}


class Errors:
    """The errors of one scenario: one object a name."""

    def __init__(self) -> None:
        self._made: dict[str, Exception] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> Exception:
        """The object that the name stands for."""
        with self._lock:
            if name not in self._made:
                self._made[name] = _OWN[name]() if name in _OWN else NamedError(name)
            return self._made[name]

    def code(self, error: BaseException | None) -> str:
        """How `err` of an observation or event is written."""
        text = self.text(error)
        if isinstance(error, (Canceled, DeadlineExceeded)):
            return _CODES.get(text, f"error:{text}")
        return f"error:{text}" if error is not None else ""

    def text(self, error: BaseException | None) -> str:
        """How a cause is written. Another object of the same text is called so."""
        if error is None:
            return ""
        if isinstance(error, (Canceled, DeadlineExceeded)):
            return str(error)
        if isinstance(error, NamedError):
            given = self._made.get(str(error)) is error
            return str(error) if given else f"{error} (not the object that was given)"
        return f"{type(error).__name__}: {error}"


# How Go's text of a context shows a key that is not a string: its type's name.
# User-made types (`A:1`, `t:1,x`) are called as they are spelled.
_GO_TYPES = {"i": "int", "f": "float64", "b": "bool"}


class Keys:
    """The keys of one scenario: one `Key` a spelling, as Go's keys compare."""

    def __init__(self) -> None:
        self._made: dict[str, Key[object]] = {}

    def spelled(self, spelling: str) -> object:
        """What to pass for the key. Not always a `Key`: tether must refuse the rest."""
        kind, _, rest = spelling.partition(":")
        if spelling == "nil":
            return None
        if kind == "list":
            return list(rest)
        if kind == "dict":
            return dict.fromkeys(rest)
        shown = rest if kind == "s" else _GO_TYPES.get(kind, kind)
        if spelling == "f:nan":
            return Key[object](shown)
        if spelling not in self._made:
            self._made[spelling] = Key[object](shown)
        return self._made[spelling]
