"""Groups as a profile that `go tool pprof` reads: profile.proto, gzip.

Fields by number, as github.com/google/pprof/proto/profile.proto has them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from ._model import Group, Line

_NUMBER, _BYTES = 0, 2  # how a field is written


def profile(groups: Iterable[Group], at: float, unit: str) -> bytes:
    """One sample a group; its labels are root, request_id and waits."""
    return gzip.compress(_Writer(unit).all(groups, at), 6)


class _Writer:
    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations: dict[tuple[int, int], int] = {}
        self._tables = bytearray()

    def all(self, groups: Iterable[Group], at: float) -> bytes:
        kind = _field(1, self._string(self._unit)) + _field(2, self._string("count"))
        out = bytearray(_field(1, kind))
        for group in groups:
            out += _field(2, self._sample(group))
        out += self._tables
        out += _field(9, int(at * 1e9)) + _field(11, kind) + _field(12, 1)
        for text in self._strings:
            out += _field(6, text.encode("utf-8", "replace"))
        return bytes(out)

    def _sample(self, group: Group) -> bytes:
        places = b"".join(_varint(self._location(line)) for line in group.stack[::-1])
        out = _field(1, places) + _field(2, _varint(group.count))
        labels = {
            "root": group.root,
            "request_id": group.request_id,
            "waits": group.waits,
        }
        for key, value in labels.items():
            if value:
                label = _field(1, self._string(key)) + _field(2, self._string(value))
                out += _field(3, label)
        return out

    def _location(self, line: Line) -> int:
        function = self._function(line)
        key = (function, line.line)
        known = self._locations.get(key)
        if known is None:
            known = self._locations[key] = len(self._locations) + 1
            place = _field(1, function) + _field(2, line.line)
            self._tables += _field(4, _field(1, known) + _field(4, place))
        return known

    def _function(self, line: Line) -> int:
        key = (line.function, line.file, line.first)
        known = self._functions.get(key)
        if known is None:
            known = self._functions[key] = len(self._functions) + 1
            name, file = self._string(line.function), self._string(line.file)
            body = _field(1, known) + _field(2, name) + _field(3, name)
            self._tables += _field(5, body + _field(4, file) + _field(5, line.first))
        return known

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _NUMBER) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
