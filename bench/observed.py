"""A request to uvicorn that is watched: `python -m bench.observed SIDE`.

The handler takes the context of its request, makes a budget of it, writes the headers
for a service that it would call, and logs a line. That is what "everything off" costs,
and what the others have to tell of.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from bench._measure import Case, Effort, Side
from bench.asgi import BODY, START, Server, serve
from tether import current
from tether.ext.asgi import ContextMiddleware
from tether.wire import Outbound

OFF, EVERYTHING = "everything off", "everything on"
SIDES = [OFF, "metrics", "the live page", "logging", "traces", EVERYTHING]
FORMAT = "%(request_id)s %(remaining).3f %(message)s"

log = logging.getLogger("bench")
out = Outbound()


class Nowhere(logging.Handler):
    """Formats a record, and that is all."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


async def handle(_scope: Any, _receive: Any, send: Any) -> None:
    with current().with_timeout(10.0) as budget:
        out.write(budget, {})
        log.info("asked")
    await send(START)
    await send(BODY)


def application(side: str) -> Any:
    """What is served, with what watches it switched on."""
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Nowhere())
    handler: Any = handle
    if side in {"traces", EVERYTHING}:
        handler = traced(handle)
    app: Any = ContextMiddleware(handler, timeout=30.0)
    if side in {"metrics", EVERYTHING}:
        from prometheus_client import CollectorRegistry

        from tether.ext.prometheus import instrument

        instrument(CollectorRegistry())
    if side in {"the live page", EVERYTHING}:
        from tether import debug

        debug.serve(port=0)
    if side in {"logging", EVERYTHING}:
        from tether.ext.logging import install

        install()
        log.handlers[0].setFormatter(logging.Formatter(FORMAT))
    if side in {"traces", EVERYTHING}:
        from tether.ext.otel import ASGITrace

        app = ASGITrace(app)
    return app


def traced(handler: Any) -> Any:
    """With a span, which is recorded and sent nowhere."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    from tether.ext.otel import span

    trace.set_tracer_provider(TracerProvider())

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        with span(current(), "request"):
            await handler(scope, receive, send)

    return inside


def case(effort: Effort) -> Case:
    """One request, watched by more and more."""
    sides = [Side(side, Server(side, module=__name__).run, "uvloop") for side in SIDES]
    return Case("a request to uvicorn", OFF, sides, n=2000 if effort.large else 50)


def main(side: str) -> None:
    import uvicorn

    config = uvicorn.Config(
        application(side),
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level=50,
    )
    serve(config, "uvloop")


if __name__ == "__main__":
    main(sys.argv[1])
