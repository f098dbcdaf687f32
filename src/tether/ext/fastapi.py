"""FastAPI: the request's context in the signature of an endpoint.

    app = FastAPI()

    @app.get("/users/{uid}")
    async def user(uid: int, ctx: Ctx) -> dict[str, str]:
        return await users.get(ctx, uid)

    served = ContextMiddleware(app, timeout=2.0)        # of tether.ext.asgi

It is what `tether.current()` gives in the endpoint: the scope of the request. For
coroutines and plain functions alike; those run in a thread, where nothing can be
interrupted from outside, so hand `ctx` to all that can wait. In what runs after the
response (background tasks) take `current()` instead: `ctx` is over with the request.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from tether import Context, background, current

try:
    from fastapi import Depends
except ImportError as error:
    raise ImportError(
        "tether.ext.fastapi needs FastAPI: pip install fastapi"
    ) from error

__all__ = ["Ctx", "request_context"]


async def request_context() -> Context:
    """The dependency behind `Ctx`, for `app.dependency_overrides` in a test."""
    ctx = current()
    if ctx is background():
        raise RuntimeError(
            "no request context: wrap the application, "
            "ContextMiddleware(app) of tether.ext.asgi"
        )
    return ctx


Ctx: TypeAlias = Annotated[Context, Depends(request_context)]
