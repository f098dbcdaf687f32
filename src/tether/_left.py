"""What still runs when the program wants to end: who owns detached work says so here.

`run` asks when the main function is over: it waits until nothing is left, and names
what is left when the time is up. An owner is known from its first piece of work on and
for as long as anybody holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from weakref import ref

from ._errors import report


class Owner(Protocol):
    """Somebody who owns work that outlives its caller."""

    def _tether_left(self) -> Iterable[str]:
        """One line for each piece that still runs: its name, its context, its age.

        Called from any thread, also in the middle of anything.
        """


# By id, in a dict and not a WeakSet: its single operations are atomic.
_owners: dict[int, ref[Owner]] = {}


def announce(owner: Owner) -> None:
    """Have `owner` asked at the end. Again: nothing."""
    key = id(owner)
    if key not in _owners:
        _owners[key] = ref(owner, lambda _: _owners.pop(key, None))


def owners() -> frozenset[ref[Owner]]:
    """Those known now, for `describe` to leave out."""
    return frozenset(_owners.values())


def describe(but: frozenset[ref[Owner]] = frozenset()) -> list[str]:
    """The lines of all owners, except some; empty: nothing is left."""
    lines: list[str] = []
    for known in [*_owners.values()]:
        owner = known()
        if owner is not None and known not in but:
            try:
                lines += owner._tether_left()
            except Exception as exc:
                report(exc)  # and the others are asked all the same
    return lines
