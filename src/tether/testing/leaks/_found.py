"""What a family of things is asked for: what is there now, cheaply, and whose it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from ._leak import Leak


class Found(NamedTuple):
    """Something that exists: whose it is (None: not to be seen), and its words."""

    owner: object
    tell: Callable[[], Leak]


class Family(Protocol):
    """Things of one sort."""

    def now(self) -> dict[Hashable, Found]:
        """All that exist now, by a key that keeps none of them alive."""
