"""The line in `MIDDLEWARE`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tether import current
from tether._current import Pending
from tether._current import var as _current
from tether._outlast import outlasting
from tether._route import CONTEXT, name_by_route

from ._connection import follow_all
from ._library import (
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
    connection and a commit end with it. It is named by the route of the request once
    Django has found that: `GET /carts/{id}`.

    Under ASGI it also sees to it that a request which was interrupted gives its
    connections back, since Django itself may be interrupted before it does.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[..., Any]) -> None:
        follow_all()
        self._get_response = get_response
        self._in_tasks = iscoroutinefunction(get_response)
        self.process_view: Callable[..., Any] = _routed
        if self._in_tasks:
            markcoroutinefunction(self)
            self.process_view = _routed_async  # else it would cost a thread

    def __call__(self, request: Any) -> Any:
        """The response, as it comes; to be awaited under ASGI."""
        held = _current.get()
        if isinstance(held, Pending):  # of a request under ASGI, and of nothing else
            held._tether_context()  # so that it is made
            request.META[CONTEXT] = held.scope
        if self._in_tasks:
            return self._answer_async(request)
        response = self._get_response(request)
        _answered(request)
        return response

    async def _answer_async(self, request: Any) -> Any:
        ctx = current()
        interrupted = False
        try:
            return await self._get_response(request)
        except asyncio.CancelledError:
            interrupted = True
            raise
        finally:
            _answered(request)
            if interrupted or ctx.done():
                await outlasting(sync_to_async(close_old_connections)())


def _routed(request: Any, *_: object) -> None:
    _name(request, "/" + request.resolver_match.route)


async def _routed_async(request: Any, *_: object) -> None:
    _routed(request)


def _answered(request: Any) -> None:
    if request.resolver_match is None:
        _name(request, None)


def _name(request: Any, route: str | None) -> None:
    scope = request.META.get(CONTEXT)
    if scope is not None:
        mount = request.META["SCRIPT_NAME"].rstrip("/")
        name_by_route(scope, request.method, mount, route)
