"""How a service behaves: quick or slow, well or failing. Told by `POST /_behavior`.

    {"latency": 9.0, "failing": 0.1}

A call takes `latency` seconds, and one in twenty up to three times as long: no real
service answers all alike. `failing` is the share of calls that are answered 503.
"""

from __future__ import annotations

import asyncio
import random

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tether.ext.asgi import ContextMiddleware, Service

SLOWER = 0.05


def taken(latency: float) -> float:
    """The seconds that one call takes."""
    slow = random.random() < SLOWER
    return latency * random.uniform(1.0, 3.0) if slow else latency


class Behavior:
    """What a call to a service has to go through."""

    def __init__(self, latency: float, failing: float = 0.0) -> None:
        self.latency = latency
        self.failing = failing

    async def take(self) -> None:
        """Take the time that a call takes; 503 if it is to fail."""
        await asyncio.sleep(taken(self.latency))
        if random.random() < self.failing:
            raise HTTPException(503, "not at the moment")

    async def change(self, request: Request) -> Response:
        """The handler of `POST /_behavior`."""
        wanted: dict[str, float] = await request.json()
        self.latency = wanted.get("latency", self.latency)
        self.failing = wanted.get("failing", self.failing)
        return JSONResponse({"latency": self.latency, "failing": self.failing})


def serving(behavior: Behavior, *routes: Route) -> ASGIApp:
    """The application: each call ends when its caller's time is over, or it leaves."""
    told = Route("/_behavior", behavior.change, methods=["POST"])
    # trust: the callers are our own gateways, and may say who the user is.
    known = Starlette(routes=[*routes, told])
    inside = ContextMiddleware(known, max_timeout=30.0, trust=True)
    return Service(inside, drain=0.0, grace=1.0, hard=1.0, detached=1.0)
