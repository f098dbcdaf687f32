"""Transports that obey the context of a request, whoever made it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from functools import lru_cache, partial
from types import ModuleType, TracebackType
from typing import Any, Self

from tether import Context, current
from tether._calls import can_end, hop, translating, under
from tether._loops import refuse_to_block
from tether.wire import Outbound

from ._library import httpx
from ._sockets import follow, let_go

# Where the context of a request stands: redirects and retries pass the extensions on.
CONTEXT = "tether.context"
OUTBOUND = Outbound()


class Transport:
    """A transport for threads whose requests end with `current()`.

        client = httpx.Client(transport=Transport(httpx.HTTPTransport(retries=1)))

    `inner` is the transport that does the work, of httpx or httpx2;
    `httpx.HTTPTransport()` if there is none. It must not use HTTP/2: there requests
    share a connection, and to cut one would be to cut its neighbors.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport | None = None,
        *,
        outbound: Outbound = OUTBOUND,
    ) -> None:
        self._inner: Any = httpx.HTTPTransport() if inner is None else inner
        self._outbound = outbound
        self._library = _library(self._inner)
        self._pool: Any = getattr(self._inner, "_pool", None)
        if self._pool is not None:
            follow(self._pool)
        elif isinstance(inner, self._library.HTTPTransport):
            raise RuntimeError(f"{self._library.__name__} has changed: no pool in it")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """What httpx calls."""
        ctx = _context_of(request)
        self._outbound.write(ctx, request.headers)
        response: httpx.Response
        told = hop(ctx, request.method, request.url)
        if not can_end(ctx):
            with told:
                response = self._inner.handle_request(request)
            return response
        refuse_to_block("a request of httpx.Client", "httpx.AsyncClient")
        kinds = (self._library.TransportError,)
        waiting = partial(let_go, self._pool, request.extensions)
        with told, translating(ctx, kinds), under(ctx):
            stop = ctx.after_func(waiting)
            try:
                response = self._inner.handle_request(request)
            finally:
                stop()
        body = _body_type(_Body, self._library.SyncByteStream)
        response.stream = body(ctx, response.stream, kinds)
        return response

    def close(self) -> None:
        """Close its connections."""
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc, tb)


class AsyncTransport:
    """A transport for tasks whose requests end with `current()`.

        client = httpx.AsyncClient(transport=AsyncTransport())

    `inner` is the transport that does the work, of httpx or httpx2;
    `httpx.AsyncHTTPTransport()` if there is none.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        outbound: Outbound = OUTBOUND,
    ) -> None:
        self._inner: Any = httpx.AsyncHTTPTransport() if inner is None else inner
        self._outbound = outbound
        self._library = _library(self._inner)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What httpx calls."""
        ctx = _context_of(request)
        self._outbound.write(ctx, request.headers)
        response: httpx.Response
        told = hop(ctx, request.method, request.url)
        if not can_end(ctx):
            with told:
                response = await self._inner.handle_async_request(request)
            return response
        kinds = (self._library.TransportError,)
        with told, translating(ctx, kinds), ctx.with_cancel():
            response = await self._inner.handle_async_request(request)
        body = _body_type(_AsyncBody, self._library.AsyncByteStream)
        response.stream = body(ctx, response.stream, kinds)
        return response

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        tb: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc, tb)


# -- bodies --------------------------------------------------------------------------


class _Body:
    """The body of a response, each piece of it read within the request's context."""

    def __init__(self, ctx: Context, inner: Any, kinds: tuple[type[Exception]]) -> None:
        self._ctx = ctx
        self._inner = inner
        self._kinds = kinds

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self._inner)
        while True:
            with translating(self._ctx, self._kinds), under(self._ctx):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def close(self) -> None:
        self._inner.close()


class _AsyncBody:
    """The same in a task."""

    def __init__(self, ctx: Context, inner: Any, kinds: tuple[type[Exception]]) -> None:
        self._ctx = ctx
        self._inner = inner
        self._kinds = kinds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        while True:
            with translating(self._ctx, self._kinds), self._ctx.with_cancel():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@lru_cache
def _body_type(body: type, base: type) -> type:
    """The body as the library wants it: of its own class."""
    return type(body.__name__, (body, base), {})


def _library(transport: object) -> ModuleType:
    """The library that a transport is of."""
    for kind in type(transport).__mro__:
        root = kind.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise TypeError(f"{transport!r} is no transport of httpx or httpx2")


def _context_of(request: httpx.Request) -> Context:
    ctx = request.extensions.get(CONTEXT)
    return ctx if isinstance(ctx, Context) else current()
