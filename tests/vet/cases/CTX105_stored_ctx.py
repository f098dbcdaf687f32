"""A context outlives its call on an object."""
from dataclasses import dataclass

from tether import Context, background


class Repository:
    def __init__(self, ctx: Context, dsn: str) -> None:
        self.dsn = dsn
        self.ctx = ctx  # error: CTX105


class Client:
    def connect(self, ctx: Context) -> None:
        self._last = ctx  # error: CTX105


# Right:


class _Socket:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx


class RequestState:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx


class Transaction:
    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx


class Reader:
    """A context manager lives as long as its block."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None: ...


class Server:
    def __init__(self) -> None:
        self._root = background().with_cancel()  # its own, which it cancels

    def stop(self) -> None:
        self._root.cancel()
