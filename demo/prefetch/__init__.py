"""The prefetch of the incident, in all combinations of its three fixes.

When somebody looks at a cart, the gateway begins to fetch the recommendations for it:
the next page will show them, and nobody waits for them. What can be wrong with that
are three things, and each file has some of them right:

    B   it has a context of its own, that is over after 800 ms
    L   every wait of it listens to a context
    S   a semaphore has places for so many of them, and sheds the rest

Each is what somebody writes who knows of these fixes and of no others. `bls.py` is the
one to copy, `incident.py` is what had been there.
"""

from __future__ import annotations

from collections import OrderedDict
from importlib import import_module
from typing import Protocol

from demo.data import Cart
from demo.services import Client, fetch
from tether import Context

VARIANTS = ["incident", "B", "L", "S", "BL", "BS", "LS", "BLS"]
KEPT = 200


class Recommended:
    """The recommendations for carts: asks for them, and keeps the latest."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: OrderedDict[int, object] = OrderedDict()
        self.count = 0

    async def prepare(self, ctx: Context, cart: Cart) -> None:
        """Ask for those of a cart, within `ctx`; `httpx.HTTPError` if that fails."""
        found = await fetch(ctx, self._client, f"/recommendations/carts/{cart.id}")
        self._kept[cart.id] = found
        self._kept.move_to_end(cart.id)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.count += 1

    def find(self, cart: int) -> object:
        """Those that are there, None if there are none."""
        return self._kept.get(cart)


class Prefetches(Protocol):
    """What each of the files has."""

    def __init__(self, service: Context, recommended: Recommended, limit: int) -> None:
        """`service` is the context of the service, `limit` is for those with an S."""

    def start(self, ctx: Context, cart: Cart) -> bool:
        """Begin with one, in the context of a request; False if it is shed."""


def variant(name: str) -> type[Prefetches]:
    """The one of this name."""
    module = import_module(f"demo.prefetch.{name.lower()}")
    made: type[Prefetches] = module.Prefetches
    return made
