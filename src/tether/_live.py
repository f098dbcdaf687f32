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

    def adopt(self, *kinds: type) -> None:
        """Note all of these kinds that are older, as far as the collector knows them.

        Goes over all objects of the process, once however many kinds: some 20 ms for
        a million, in which no other thread runs. To look at each from here would take
        eight times as long.
        """
        known = {id(noted()) for noted in list(self._refs)}
        # An object refers to its class. Lists and the like do as well.
        for one in gc.get_referrers(*_and_below(kinds)):
            # By type: to be asked for its class wakes a proxy, or does worse.
            if issubclass(type(one), kinds) and id(one) not in known:
                self.add(one)

    def alive(self, kind: type[K]) -> list[K]:
        """Those of this kind that are still there.

        A list and nothing else: an object for each of many thousands would set off a
        full garbage collection, and that is a stop of the whole program.
        """
        there = (noted() for noted in list(self._refs))
        return [one for one in there if isinstance(one, kind)]

    def noted(self, kind: type[K]) -> list[tuple[K, N]]:
        """The same with their notes."""
        there = ((noted(), noted.note) for noted in list(self._refs))
        return [(one, note) for one, note in there if isinstance(one, kind)]


def _and_below(kinds: tuple[type, ...]) -> set[type]:
    """These and their subclasses, and those of them."""
    found: set[type] = set()
    todo = [*kinds]
    while todo:
        kind = todo.pop()
        if kind not in found:
            found.add(kind)
            todo += type.__subclasses__(kind)
    return found


def _tell(one: object) -> None:
    for live in _open:
        live.add(one)
