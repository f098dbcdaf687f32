"""The adapter: where requests hands a request to urllib3."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, cast

try:
    import requests
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.requests needs requests: pip install "tether[requests]"',
        name="requests",
    ) from None

from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from tether import Context
from tether._calls import can_end, hop, translating
from tether._loops import refuse_to_block
from tether.wire import Outbound

from ._connections import POOLS, context

OUTBOUND = Outbound()
KINDS = (requests.RequestException, HTTPError, OSError)


class Adapter(HTTPAdapter):
    """An adapter for a session of requests whose calls end with `current()`.

    It takes what `HTTPAdapter` takes: `Adapter(pool_maxsize=20, max_retries=3)`.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_tether_outbound"]  # noqa: RUF012
    _tether_outbound = OUTBOUND

    def __init__(self, *args: Any, outbound: Outbound = OUTBOUND, **kw: Any) -> None:
        super().__init__(*args, **kw)
        self._tether_outbound = outbound

    def init_poolmanager(self, *args: Any, **kw: Any) -> None:
        """What the constructor calls."""
        super().init_poolmanager(*args, **kw)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kw: Any) -> Any:
        """What requests calls for a proxy."""
        manager = super().proxy_manager_for(proxy, **kw)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kw: Any
    ) -> requests.Response:
        """What requests calls."""
        ctx = context()
        headers = cast("MutableMapping[str, str]", request.headers)
        self._tether_outbound.write(ctx, headers)
        told = hop(ctx, request.method, request.url)
        if not can_end(ctx):
            with told:
                return super().send(request, *args, **kw)
        refuse_to_block("a request of requests.Session", "an asynchronous client")
        if not isinstance(self.max_retries, _Asking):
            self.max_retries = _asking(self.max_retries)
        with told, translating(ctx, KINDS):
            ctx.check()
            response = super().send(request, *args, **kw)
        if type(response) is requests.Response:  # else a subclass has its own ideas
            response.__class__ = _Response
            cast("_Response", response)._tether_ctx = ctx
        return response


class _Response(requests.Response):
    """One whose body is read within the context of its request."""

    _tether_ctx: Context

    def iter_content(self, *args: Any, **kw: Any) -> Iterator[Any]:
        pieces = super().iter_content(*args, **kw)
        ctx = getattr(self, "_tether_ctx", None)  # none after pickling
        return pieces if ctx is None else _within(ctx, pieces)


def _within(ctx: Context, pieces: Iterator[Any]) -> Iterator[Any]:
    while True:
        with translating(ctx, KINDS):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


# -- retries -------------------------------------------------------------------------


class _Asking(Retry):
    """Retries that ask the context, and whose pauses end with it."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if error is not None and context().done():
            raise MaxRetryError(cast("Any", _pool), str(url), error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def sleep(self, response: Any = None) -> None:
        seconds = None
        if response is not None and self.respect_retry_after_header:
            seconds = self.get_retry_after(response)
        context().sleep(seconds or self.get_backoff_time())


def _asking(retry: Retry) -> Retry:
    """The same retries, with all that their class may have of its own."""
    asking = copy.copy(retry)
    asking.__class__ = _asking_kind(cast("Any", type(retry)))
    return asking


@lru_cache
def _asking_kind(kind: Any) -> Any:
    return type(kind.__name__, (_Asking, kind), {})
