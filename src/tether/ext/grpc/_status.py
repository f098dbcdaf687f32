"""Status codes: as gRPC's Python has them, and as Go's metrics spell them."""

from __future__ import annotations

from ._library import grpc

_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class ServerStopped(Exception):
    """The server was stopped: the `cause()` of the calls that its stop ended."""

    def __init__(self, text: str = "the server is stopping") -> None:
        super().__init__(text)


def code_set(code: object) -> grpc.StatusCode | None:
    """The code that a handler has set: threads are told the enum, tasks its number."""
    if isinstance(code, int):
        return _BY_NUMBER.get(code)
    return code if isinstance(code, grpc.StatusCode) else None


def in_go(code: grpc.StatusCode) -> str:
    """The code as go-grpc-prometheus spells it: "DeadlineExceeded", "Canceled", "OK".

    >>> in_go(grpc.StatusCode.CANCELLED), in_go(grpc.StatusCode.NOT_FOUND)
    ('Canceled', 'NotFound')
    """
    if code is grpc.StatusCode.OK:
        return "OK"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
