"""What is counted of one call, by whoever wants it; nobody, by default."""

from __future__ import annotations

from typing import Protocol, TypeAlias, final

from ._library import grpc

# What go-grpc-prometheus calls the kind of a method, its service, its name.
Method: TypeAlias = tuple[str, str, str]

_KINDS = "unary", "server_stream", "client_stream", "bidi_stream"


def method_of(path: str, *, reads: bool, writes: bool) -> Method:
    """The labels of a method: `reads` a stream of requests, `writes` one of responses.

    >>> method_of("/shop.Stock/Get", reads=False, writes=True)
    ('server_stream', 'shop.Stock', 'Get')
    """
    service, _, name = path.lstrip("/").rpartition("/")
    return _KINDS[2 * reads + writes], service, name


class Counts(Protocol):
    """What one call tells of itself."""

    def received(self) -> None:
        """A message has come."""

    def sent(self) -> None:
        """A message was handed over to be sent."""

    def handled(self, code: grpc.StatusCode) -> None:
        """It is complete."""


@final
class _Nobody:
    """Counts nothing."""

    def received(self) -> None:
        pass

    def sent(self) -> None:
        pass

    def handled(self, code: grpc.StatusCode) -> None:
        pass


NOBODY = _Nobody()
