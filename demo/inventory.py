"""The client of the inventory, which speaks gRPC.

Its messages are JSON, so that the demo needs no generated code. A call takes along what
its context has left, the request id and the user, and is canceled on the wire when the
context ends.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tether import Context
from tether.ext.grpc import call_async

SERVICE = "shop.Inventory"


def dumps(message: object) -> bytes:
    """What goes over the wire."""
    return json.dumps(message).encode()


class Inventory:
    """What is in stock; `grpc.RpcError` if it cannot be told."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def method(name: str) -> Any:
            return channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=dumps,
                response_deserializer=json.loads,
            )

        self._get_stock = method("GetStock")
        self._reserve = method("Reserve")

    async def stock(self, ctx: Context, product: int) -> int:
        """How many of a product there are."""
        count: int = await call_async(ctx, self._get_stock, product)
        return count

    async def reserve(self, ctx: Context, order: str) -> None:
        """Keep for an order what it is about."""
        await call_async(ctx, self._reserve, order)


@asynccontextmanager
async def inventory_at(address: str) -> AsyncIterator[Inventory]:
    """A block with the client of the inventory at HOST:PORT."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield Inventory(channel)
