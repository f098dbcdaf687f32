"""Key: the typed name of a value that a context carries."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, final

T = TypeVar("T")


@final
class Key(Generic[T]):
    """A name for one kind of value in a context, equal to itself only.

    Two keys never collide, not even two of the same name, so a library's values are
    its own. Make keys at module level and keep request metadata under them, never
    configuration or connections:

        >>> from tether import Key, background
        >>> REQUEST_ID: Key[str] = Key("request-id")
        >>> ctx = background().with_value(REQUEST_ID, "4bf92f")
        >>> ctx.value(REQUEST_ID)
        '4bf92f'
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a Key is a string, not {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


@final
class Value:
    """One link in the chain of the values of a context, the nearest first."""

    __slots__ = ("key", "next", "value")

    def __init__(self, key: Key[Any], value: object, after: Value | None) -> None:
        self.key = key
        self.value = value
        self.next = after


# A link under this key holds a user-made context, which answers for all keys above.
ELSEWHERE: Key[object] = Key("tether.elsewhere")
