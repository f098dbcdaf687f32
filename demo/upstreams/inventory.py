"""What is in stock, and what is reserved. A reservation that is not bought runs out.

A service of its own kind: gRPC, python -m demo.upstreams.inventory PORT.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import grpc

from demo.inventory import SERVICE, dumps
from demo.serve import follow_parent, log_with_contexts
from demo.upstreams.behavior import taken
from tether import Context, run
from tether.ext.grpc import AioServerInterceptor

log = logging.getLogger(__name__)

LATENCY = 0.03


async def get_stock(product: int, _: object) -> int:
    await asyncio.sleep(taken(LATENCY))
    return product % 7 + 1


async def reserve(order: str, _: object) -> dict[str, str]:
    log.info("reserving for order %s", order)  # the record has what was left on arrival
    await asyncio.sleep(taken(LATENCY))
    return {"reserved": order}


async def serve(ctx: Context, port: int) -> None:
    """Serve until SIGTERM, and then let the calls that are there end."""
    # trust: the callers are our own gateways, and may say who the user is.
    calls = AioServerInterceptor(max_timeout=30.0, trust=True)
    server = grpc.aio.server(interceptors=[calls])
    methods: dict[str, Any] = {"GetStock": get_stock, "Reserve": reserve}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=json.loads, response_serializer=dumps
        )
        for name, method in methods.items()
    }
    generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
    server.add_generic_rpc_handlers([generic])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    with ctx.without_cancel().with_cancel():  # the stop is not interrupted
        await ctx.wait_async()
        await calls.stop(server, grace=1.0)


if __name__ == "__main__":
    follow_parent()
    log_with_contexts()
    run(serve, int(sys.argv[1]), drain=3.0)
