"""Clients that take a context first."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import (
    Any,
    Generic,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from tether import Context
from tether._calls import under
from tether._loops import refuse_to_block
from tether.wire import Outbound

from ._library import httpx
from ._transports import CONTEXT, OUTBOUND, AsyncTransport, Transport

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Options(TypedDict, total=False):
    """What a request takes beside its method and URL, as in httpx."""

    content: object
    data: Mapping[str, object]
    files: object
    json: object
    params: object
    headers: object
    cookies: object
    auth: object
    follow_redirects: bool
    timeout: object
    extensions: Mapping[str, object]


_SENDING = frozenset(("auth", "follow_redirects"))  # all others build the request


# -- clients -------------------------------------------------------------------------


class _Sends(Protocol[R_co]):
    """A client of httpx or httpx2."""

    @property
    def send(self) -> Callable[..., R_co]: ...


class _Client(Generic[R]):
    """What a client does in a thread and in a task alike; `R` is what it returns."""

    def __init__(self, client: object) -> None:
        self._client: Any = client

    def build_request(
        self, ctx: Context, method: str, url: object, **options: object
    ) -> httpx.Request:
        """A request for `send`, as in httpx."""
        _check(ctx)
        request: httpx.Request = self._client.build_request(method, url, **options)
        return request

    def send(self, ctx: Context, request: httpx.Request, **options: object) -> R:
        """The response to a request that was built; `stream=True`: its body unread."""
        raise NotImplementedError

    def _start(
        self, ctx: Context, method: str, url: object, options: Options, **more: object
    ) -> R:
        building = {**options}
        sending = {name: building.pop(name) for name in _SENDING & building.keys()}
        request = self.build_request(ctx, method, url, **building)
        return self.send(ctx, request, **sending, **more)

    def request(
        self, ctx: Context, method: str, url: object, **options: Unpack[Options]
    ) -> R:
        """The response to a request, its body read, within `ctx`."""
        return self._start(ctx, method, url, options)

    def get(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with GET."""
        return self._start(ctx, "GET", url, options)

    def options(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with OPTIONS."""
        return self._start(ctx, "OPTIONS", url, options)

    def head(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with HEAD."""
        return self._start(ctx, "HEAD", url, options)

    def post(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with POST."""
        return self._start(ctx, "POST", url, options)

    def put(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with PUT."""
        return self._start(ctx, "PUT", url, options)

    def patch(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with PATCH."""
        return self._start(ctx, "PATCH", url, options)

    def delete(self, ctx: Context, url: object, **options: Unpack[Options]) -> R:
        """As `request`, with DELETE."""
        return self._start(ctx, "DELETE", url, options)


class Client(_Client[R]):
    """httpx's client for threads, with a context first.

    It takes what `httpx.Client` takes, or a client that exists, of httpx or httpx2.
    That one's transports are replaced, so that calls on it follow `current()`.

        >>> from tether import background
        >>> transport = httpx.MockTransport(lambda request: httpx.Response(204))
        >>> with Client(transport=transport, base_url="http://shop") as http:
        ...     with background().with_timeout(1.0) as ctx:
        ...         http.get(ctx, "/users/7").status_code
        204

    In a task it would block the event loop, and raises RuntimeError.
    """

    @overload
    def __init__(
        self: Client[httpx.Response],
        client: None = None,
        *,
        outbound: Outbound = ...,
        **options: object,
    ) -> None: ...
    @overload
    def __init__(self, client: _Sends[R], *, outbound: Outbound = ...) -> None: ...
    def __init__(
        self,
        client: _Sends[R] | None = None,
        *,
        outbound: Outbound = OUTBOUND,
        **options: Any,
    ) -> None:
        super().__init__(httpx.Client(**options) if client is None else client)
        _follow(self._client, Transport, outbound)

    def send(self, ctx: Context, request: httpx.Request, **options: object) -> R:
        """The response to a request that was built; `stream=True`: its body unread."""
        refuse_to_block("tether.ext.httpx.Client.send", "AsyncClient")
        _assign(request, ctx)
        with under(ctx):
            return cast("R", self._client.send(request, **options))

    @contextmanager
    def stream(
        self, ctx: Context, method: str, url: object, **options: Unpack[Options]
    ) -> Iterator[R]:
        """A block with a response whose body is still to be read, within `ctx`."""
        response: Any = self._start(ctx, method, url, options, stream=True)
        try:
            yield response
        finally:
            response.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._client.__exit__(exc_type, exc, tb)


class AsyncClient(_Client[Coroutine[Any, Any, R]], Generic[R]):
    """httpx's client for tasks, with a context first.

    It takes what `httpx.AsyncClient` takes, or a client that exists, of httpx or
    httpx2. That one's transports are replaced, so that calls on it follow `current()`.
    """

    @overload
    def __init__(
        self: AsyncClient[httpx.Response],
        client: None = None,
        *,
        outbound: Outbound = ...,
        **options: object,
    ) -> None: ...
    @overload
    def __init__(
        self, client: _Sends[Awaitable[R]], *, outbound: Outbound = ...
    ) -> None: ...
    def __init__(
        self,
        client: _Sends[Awaitable[R]] | None = None,
        *,
        outbound: Outbound = OUTBOUND,
        **options: Any,
    ) -> None:
        super().__init__(httpx.AsyncClient(**options) if client is None else client)
        _follow(self._client, AsyncTransport, outbound)

    async def send(self, ctx: Context, request: httpx.Request, **options: object) -> R:
        """The response to a request that was built; `stream=True`: its body unread."""
        _assign(request, ctx)
        with ctx.with_cancel():
            return cast("R", await self._client.send(request, **options))

    @asynccontextmanager
    async def stream(
        self, ctx: Context, method: str, url: object, **options: Unpack[Options]
    ) -> AsyncGenerator[R]:
        """A block with a response whose body is still to be read, within `ctx`."""
        response: Any = await self._start(ctx, method, url, options, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(exc_type, exc, tb)


def _check(ctx: object) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(
            f"a request takes its context first, not {ctx!r}; for code that has none, "
            "use httpx's own client with a transport of tether.ext.httpx"
        )


def _assign(request: Any, ctx: Context) -> None:
    _check(ctx)
    request.extensions = {**request.extensions, CONTEXT: ctx}


def _follow(
    client: Any, kind: type[Transport | AsyncTransport], outbound: Outbound
) -> None:
    """Replace the transports of a client by such as obey contexts."""

    def obeying(inner: Any) -> object:
        if inner is None or isinstance(inner, kind):
            return inner
        return kind(inner, outbound=outbound)

    client._transport = obeying(client._transport)
    client._mounts = {where: obeying(inner) for where, inner in client._mounts.items()}
