"""The weak list of what is alive, scopes and groups; off until somebody asks.

Who looks after a program from outside (the leak check, the live page, the metrics)
opens a `Live`. Until then a new scope or group costs one look at `made`; while one is
open, each costs a weak reference. Nothing is kept alive by being noted.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Generic, Self, TypeVar, cast, final
from weakref import ref

N = TypeVar("N")
K = TypeVar("K")

# What is told of each new scope and group; None: nobody wants to know.
made: Callable[[object], None] | None = None

_lock = Lock()
_open: tuple[Live[object], ...] = ()


@final
class _Ref(ref[object], Generic[N]):
    """A weak reference with the note that was taken when its object was made."""

    __slots__ = ("note",)

    note: N


@final
class Live(Generic[N]):
    """The scopes and groups made while it is open, each with what `note` said then.

    `note` is called by whoever makes one, in its task and thread, and must be quick.
    """

    def __init__(self, note: Callable[[], N]) -> None:
        self._note = note
        self._refs: set[_Ref[N]] = set()
        self._forget = self._refs.discard

    def __enter__(self) -> Self:
        global _open, made
        with _lock:
            _open = (*_open, cast(Live[object], self))
            made = _tell
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        global _open, made
        with _lock:
            _open = tuple(one for one in _open if one is not self)
            made = _tell if _open else None

    def add(self, one: object) -> None:
        """Note one that has just been made, or that was there before."""
        noted: _Ref[N] = _Ref(one, self._forget)
        noted.note = self._note()
        self._refs.add(noted)

    def adopt(self, kind: type) -> None:
        """Note all of this kind that are older, as far as the collector knows them.

        Looks at every object of the process: some ten milliseconds for a million.
        """
        known = {id(noted()) for noted in list(self._refs)}
        for one in gc.get_objects():
            # By type: to be asked for its class wakes a proxy, or does worse.
            if issubclass(type(one), kind) and id(one) not in known:
                self.add(one)

    def all(self, kind: type[K]) -> list[tuple[K, N]]:
        """Those of this kind that are still there, with their notes."""
        there = ((noted(), noted.note) for noted in list(self._refs))
        return [(one, note) for one, note in there if isinstance(one, kind)]


def _tell(one: object) -> None:
    for live in _open:
        live.add(one)
