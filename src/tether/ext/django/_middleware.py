"""The line in `MIDDLEWARE`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tether import current
from tether._outlast import outlasting

from ._connection import follow_all
from ._library import (
    MiddlewareNotUsed,
    close_old_connections,
    iscoroutinefunction,
    markcoroutinefunction,
    sync_to_async,
)


class ContextMiddleware:
    """A line in `MIDDLEWARE`: all that a request asks a database ends with it.

        MIDDLEWARE = ["tether.ext.django.ContextMiddleware", ...]

    The context is `current()`, which `ContextWSGI` and `ContextMiddleware` of tether's
    own integrations make, around the whole application. A statement, a wait for a
    connection and a commit end with it.

    Under WSGI it costs a request nothing: it tells the connections, and Django takes it
    out of the chain. Under ASGI it sees to it that a request which was interrupted
    gives its connections back, since Django itself may be interrupted before it does.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        follow_all()
        if not iscoroutinefunction(get_response):
            raise MiddlewareNotUsed("the connections follow current() from now on")
        self._get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: object) -> Any:
        """The response, as it comes."""
        ctx = current()
        interrupted = False
        try:
            return await self._get_response(request)
        except asyncio.CancelledError:
            interrupted = True
            raise
        finally:
            if interrupted or ctx.done():
                await outlasting(sync_to_async(close_old_connections)())
