"""aiohttp: requests that end with their context, and carry it on.

    async with ClientSession(base_url="http://shop") as http:
        async with http.get(ctx, "/users/7") as response:
            user = await response.json()

`ClientSession` takes a context first and is otherwise as aiohttp's. For code that
cannot pass one there is a middleware, which asks `current()`:

    session = aiohttp.ClientSession(middlewares=(Middleware(),))

Either way the context bounds all of it, redirects included: the wait for a connection,
the name, all addresses, TLS, the headers, and a body that drips, until the response is
closed. What comes then is the context's error. An error of aiohttp's own passes as it
is while the context lasts, and its timeouts hold beside the context. A websocket is
bound until it is open; what it receives afterwards is not.

How: each request, and each wait for more of the body, is made in a scope below the
context and interrupted in its `await`. All waits for a body are in one place, inside
the timer of aiohttp's own `StreamReader`; that its name is `_timer` is private (3.12 to
3.14), and so is the `_middlewares` of a session that exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, final

from tether import Context, current
from tether._calls import can_end, hop, translating
from tether.wire import Outbound

try:
    import aiohttp
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.aiohttp needs aiohttp: pip install "tether[aiohttp]"',
        name="aiohttp",
    ) from None

if TYPE_CHECKING:
    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
    from aiohttp.client import _RequestOptions as Options
    from aiohttp.typedefs import StrOrURL

__all__ = ["Call", "ClientSession", "Middleware"]

_OUTBOUND = Outbound()
_KINDS = (aiohttp.ClientError, OSError)


class ClientSession:
    """aiohttp's session, with a context first.

    It takes what `aiohttp.ClientSession` takes, or one that exists; `session` is that
    one, for its cookies and all else that is not about sending. Like aiohttp's it is
    made in a task. A `Middleware` in it has nothing to do for these calls.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        outbound: Outbound = _OUTBOUND,
        **options: Any,
    ) -> None:
        self.session = aiohttp.ClientSession(**options) if session is None else session
        self._outbound = outbound

    def request(
        self, ctx: Context, method: str, url: StrOrURL, **options: Unpack[Options]
    ) -> Call:
        """A request within `ctx`, to be awaited, or entered with `async with`."""
        if not isinstance(ctx, Context):
            raise TypeError(
                f"a request takes its context first, not {ctx!r}; for code that has "
                "none give aiohttp's own session a tether.ext.aiohttp.Middleware"
            )
        own = options.get("middlewares")
        if own is None:
            own = self.session._middlewares
        # The innermost, so that one that repeats a request asks anew.
        obey: Any = partial(_obey, ctx, self._outbound)
        others = [one for one in own if not isinstance(one, Middleware)]
        options["middlewares"] = (*others, obey)
        return Call(self._request(ctx, method, url, options))

    async def _request(
        self, ctx: Context, method: str, url: StrOrURL, options: Options
    ) -> ClientResponse:
        with ctx.with_cancel():
            return await self.session.request(method, url, **options)

    def get(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with GET."""
        return self.request(ctx, "GET", url, **options)

    def options(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with OPTIONS."""
        return self.request(ctx, "OPTIONS", url, **options)

    def head(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with HEAD; redirects are not followed, as in aiohttp."""
        options.setdefault("allow_redirects", False)
        return self.request(ctx, "HEAD", url, **options)

    def post(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with POST."""
        return self.request(ctx, "POST", url, **options)

    def put(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with PUT."""
        return self.request(ctx, "PUT", url, **options)

    def patch(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with PATCH."""
        return self.request(ctx, "PATCH", url, **options)

    def delete(self, ctx: Context, url: StrOrURL, **options: Unpack[Options]) -> Call:
        """As `request`, with DELETE."""
        return self.request(ctx, "DELETE", url, **options)

    async def close(self) -> None:
        """Close its connections."""
        await self.session.close()

    async def __aenter__(self) -> Self:
        await self.session.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.session.__aexit__(exc_type, exc, tb)


@final
class Call:
    """A request on its way: await it for its response, or enter it to have it closed.

    The response is aiohttp's, with the head read and the body not.
    """

    __slots__ = ("_coroutine", "_response")

    def __init__(self, coroutine: Coroutine[Any, Any, ClientResponse]) -> None:
        self._coroutine = coroutine
        self._response: ClientResponse

    def __await__(self) -> Generator[Any, None, ClientResponse]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> ClientResponse:
        self._response = await self._coroutine
        return await self._response.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._response.__aexit__(exc_type, exc, tb)


class Middleware:
    """A middleware for a session of aiohttp whose requests end with `current()`.

    Put it last, so that a middleware that repeats requests goes through it each time.
    """

    def __init__(self, *, outbound: Outbound = _OUTBOUND) -> None:
        self._outbound = outbound

    async def __call__(
        self, request: ClientRequest, handler: ClientHandlerType
    ) -> ClientResponse:
        """What aiohttp calls."""
        return await _obey(current(), self._outbound, request, handler)


async def _obey(
    ctx: Context,
    outbound: Outbound,
    request: ClientRequest,
    handler: ClientHandlerType,
) -> ClientResponse:
    outbound.write(ctx, request.headers)
    told = hop(ctx, request.method, request.url)
    if not can_end(ctx):
        with told:
            return await handler(request)
    with told, translating(ctx, _KINDS), ctx.with_cancel():
        response = await handler(request)
    body: Any = response.content
    timer = getattr(body, "_timer", None)
    connection = response.connection
    if timer is not None and connection is not None:  # else the body has come already
        body._timer = _Timer(ctx, timer, connection.transport)
    return response


@final
class _Timer:
    """In the place of the timer around each wait for a body: a scope, then the timer.

    A body has one wait at a time; aiohttp refuses a second one.
    """

    def __init__(
        self, ctx: Context, timer: Any, transport: asyncio.Transport | None
    ) -> None:
        self._ctx = ctx
        self._timer = timer
        self._transport = transport
        self._waiting: ExitStack

    def assert_timeout(self) -> None:
        self._timer.assert_timeout()

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.enter_context(translating(self._ctx, _KINDS))
            entered.enter_context(self._ctx.with_cancel())
            entered.enter_context(self._timer)
            self._waiting = entered.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> bool | None:
        try:
            return self._waiting.__exit__(exc_type, exc, tb)
        finally:
            # aiohttp will close the connection. With TLS that is a farewell on both
            # sides, for which a server that sends and does not read has no ear.
            if exc is not None and self._transport is not None and self._ctx.done():
                self._transport.abort()
