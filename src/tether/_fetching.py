"""A cursor whose rows are still to come: each wait for some ends with the context.

SQLite computes a row when it is asked for, and a cursor in the server sends them in
portions, so to watch `execute` alone is not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self, TypeVar, final

T = TypeVar("T")


class Within(Protocol):
    """Makes a call on a connection in a block that ends with the context."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


@final
class Fetching:
    """In the place of a driver's cursor, with all that it has."""

    def __init__(self, cursor: Any, within: Within) -> None:
        self.__dict__.update(_cursor=cursor, _within=within)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._cursor, name, value)

    def fetchone(self) -> Any:
        """As the cursor's."""
        return self._within(self._cursor.fetchone)

    def fetchmany(self, *size: int, **named: int) -> Any:
        """As the cursor's."""
        return self._within(lambda: self._cursor.fetchmany(*size, **named))

    def fetchall(self) -> Any:
        """As the cursor's."""
        return self._within(self._cursor.fetchall)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchone, None)

    def __enter__(self) -> Self:
        self._cursor.__enter__()
        return self

    def __exit__(self, *exc: object) -> Any:
        return self._cursor.__exit__(*exc)
