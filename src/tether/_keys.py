"""Key: the typed name of a value that a context carries."""

from __future__ import annotations

import re
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

    A value stays in its process. One whose key has a `wire` name, and which is a
    string, also crosses to other services, as the header of that name:
    `Key("tenant", wire="x-tenant")`. See `tether.wire`.
    """

    __slots__ = ("name", "wire")

    def __init__(self, name: str, *, wire: str | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a Key is a string, not {name!r}")
        self.name = name
        self.wire = None if wire is None else _declare(self, wire)

    def __repr__(self) -> str:
        return f"Key({self.name!r})"


# By the bytes of their headers, as servers hand them over: the keys that cross.
wired: dict[bytes, Key[Any]] = {}

# What carries a message, or says who may do what, is not for values.
_RESERVED = re.compile(
    r"host|connection|content-.*|transfer-encoding|te|trailer|upgrade|expect"
    r"|keep-alive|authorization|cookie|set-cookie|proxy-.*|traceparent|tracestate"
    r"|baggage|.*timeout.*|x-request-deadline-ms"
    r"|grpc-.*|.*-bin"  # gRPC drops the ones, and takes only bytes for the others
)


def _declare(key: Key[Any], wire: object) -> str:
    """Register the header of a key; its name in lower case."""
    if not isinstance(wire, str):
        raise TypeError(f"the wire name of a Key is a string, not {wire!r}")
    name = wire.lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name) or _RESERVED.fullmatch(name):
        raise ValueError(
            f"{wire!r} cannot be the header of a value; "
            'take letters, digits and dashes, and a name of its own: "x-tenant"'
        )
    # One made anew under the same name (a module loaded again) takes the place.
    other = wired.get(name.encode())
    if other is not None and other.name != key.name:
        raise ValueError(f"the header {name!r} is taken by {other!r}")
    wired[name.encode()] = key
    return name


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
