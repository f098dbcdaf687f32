"""The services behind the gateway: a client for each, of HTTP or of gRPC.

They take a context first, end with it, and tell the other side how much time is left
and whose request it is. A service that hangs holds up the connections of its own
client only.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from demo.inventory import Inventory, inventory_at
from tether import Context, Key
from tether.ext.httpx import AsyncClient

USER: Key[str] = Key("user", wire="x-user")
"""Who has sent the request. It crosses to the services behind, beside the request id.

Values are what is known of a request, under keys of their own. Connections and settings
are none: those are passed as parameters.
"""

Client = AsyncClient[httpx.Response]


@dataclass(frozen=True)
class Services:
    """One client for each service; passed to those that need it."""

    recommendations: Client
    reviews: Client
    inventory: Inventory
    payment: Client


@asynccontextmanager
async def opened() -> AsyncIterator[Services]:
    """A block in which there are connections to the services."""
    async with AsyncExitStack() as stack:

        async def client(name: str) -> Client:
            made = AsyncClient(
                base_url=os.environ[f"DEMO_{name.upper()}"],
                timeout=5.0,  # for each step, as httpx has it; the context bounds all
                limits=httpx.Limits(max_connections=None, keepalive_expiry=2.0),
            )
            return await stack.enter_async_context(made)

        yield Services(
            await client("recommendations"),
            await client("reviews"),
            await stack.enter_async_context(inventory_at(os.environ["DEMO_INVENTORY"])),
            await client("payment"),
        )


async def fetch(ctx: Context, client: Client, path: str) -> object:
    """What a service answers, as JSON; `httpx.HTTPError` if it fails."""
    answer = await client.get(ctx, path)
    return answer.raise_for_status().json()


async def send(ctx: Context, client: Client, path: str) -> None:
    """Have a service do something; `httpx.HTTPError` if it does not."""
    answer = await client.post(ctx, path)
    answer.raise_for_status()
