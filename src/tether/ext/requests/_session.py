"""The session that takes a context first."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypedDict, Unpack, cast

import requests
from requests.adapters import HTTPAdapter

from tether import Context
from tether._calls import under
from tether._loops import refuse_to_block
from tether.wire import Outbound

from ._adapter import OUTBOUND, Adapter
from ._connections import given


class Options(TypedDict, total=False):
    """What a request takes beside its method and URL, as in requests."""

    params: object
    data: object
    headers: object
    cookies: object
    files: object
    auth: object
    timeout: float | tuple[float, float] | None
    allow_redirects: bool
    proxies: dict[str, str]
    hooks: object
    stream: bool
    verify: bool | str
    cert: object
    json: object


class Session:
    """requests' session, with a context first.

    `session` is requests' own, for its headers, its authentication and its hooks. An
    existing one may be given; adapters of requests' own class in it are replaced.

        >>> from tether import background
        >>> with Session() as http, background().with_timeout(1.0) as ctx:
        ...     try:
        ...         http.get(ctx, "http://127.0.0.1:1/")
        ...     except requests.ConnectionError as exc:
        ...         print("no shop here")
        no shop here

    In a task it would block the event loop, and raises RuntimeError.
    """

    def __init__(
        self, session: requests.Session | None = None, *, outbound: Outbound = OUTBOUND
    ) -> None:
        self.session = requests.Session() if session is None else session
        for prefix, adapter in [*self.session.adapters.items()]:
            if type(adapter) is HTTPAdapter:
                mine = Adapter(outbound=outbound)
                mine.__setstate__(adapter.__getstate__())
                self.session.mount(prefix, mine)

    def request(
        self, ctx: Context, method: str, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """The response to a request; within `ctx`, and so is its body."""
        if not isinstance(ctx, Context):
            raise TypeError(
                f"a request takes its context first, not {ctx!r}; for code that has "
                "none, mount a tether.ext.requests.Adapter on its session"
            )
        refuse_to_block("tether.ext.requests.Session.request", "an asynchronous client")
        token = given.set(ctx)
        try:
            with under(ctx):
                return self.session.request(method, url, **cast("Any", options))
        finally:
            given.reset(token)

    def get(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with GET."""
        return self.request(ctx, "GET", url, **options)

    def options(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with OPTIONS."""
        return self.request(ctx, "OPTIONS", url, **options)

    def head(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with HEAD; redirects are not followed, as in requests."""
        options.setdefault("allow_redirects", False)
        return self.request(ctx, "HEAD", url, **options)

    def post(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with POST."""
        return self.request(ctx, "POST", url, **options)

    def put(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with PUT."""
        return self.request(ctx, "PUT", url, **options)

    def patch(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with PATCH."""
        return self.request(ctx, "PATCH", url, **options)

    def delete(
        self, ctx: Context, url: str, **options: Unpack[Options]
    ) -> requests.Response:
        """As `request`, with DELETE."""
        return self.request(ctx, "DELETE", url, **options)

    def close(self) -> None:
        """Close its connections."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
