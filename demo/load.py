"""The clients. They come when they come, and do not wait for one another.

An open loop: the moments of the requests are drawn beforehand, the same ones for each
shop, and a slow answer does not keep the next client from coming. The time that a
request takes is counted from the moment that was meant for it. If this process is late
in sending it, that counts as well, and is not left out (the coordinated omission).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from demo import data
from demo.http import request
from tether import Context, DeadlineExceeded, WaitGroup

PATIENCE = 3.0  # seconds that a client waits
TIMEOUT = f"x-request-timeout-ms: {PATIENCE * 1000:.0f}\r\n"
CART = "cart"
PAYMENT = "payment"


@dataclass(frozen=True)
class Kind:
    """One kind of request, and what share of all it is."""

    name: str
    share: float
    method: str
    path: Callable[[int], str]


KINDS = [
    Kind(CART, 0.68, "GET", lambda n: f"/carts/{n * 7 % data.CARTS}"),
    Kind("user", 0.10, "GET", lambda n: f"/users/{n * 7 % data.USERS}"),
    Kind("product", 0.08, "GET", lambda n: f"/products/{n % 90 + 1}"),
    Kind("dashboard", 0.02, "GET", lambda _: "/dashboard"),
    Kind("stocks", 0.01, "GET", lambda _: "/stocks"),
    Kind("report", 0.01, "GET", lambda _: "/report"),
    Kind("checkout", 0.03, "POST", lambda n: f"/checkouts/{n % data.CARTS}/c-{n}"),
    Kind("order", 0.02, "POST", lambda n: f"/orders/o-{n}"),
    Kind(PAYMENT, 0.05, "POST", lambda n: f"/payments/p-{n}"),
]
CARTS = next(kind.share for kind in KINDS if kind.name == CART)


@dataclass(frozen=True)
class Answer:
    """What became of one request; `status` is 0 if there was no answer in time."""

    kind: str
    due: float
    seconds: float
    status: int
    late: float = 0.0  # of the seconds: those before it was sent at all

    @property
    def failed(self) -> bool:
        """Whether the client has nothing of it."""
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True)
class Burst:
    """From here to there so many times the cart views."""

    begin: float
    end: float
    times: float


NO_BURST = Burst(0.0, 0.0, 1.0)
FOREVER = float("inf")


def arrivals(
    rate: float, burst: Burst, seconds: float, seed: int
) -> Iterator[tuple[float, Kind]]:
    """When which request comes, in seconds from the beginning."""
    chance = random.Random(seed)
    # Drawn as if it were always a burst; outside of it the additional ones do not come.
    more = CARTS * (burst.times - 1.0)
    when = 0.0
    while (when := when + chance.expovariate(rate * (1.0 + more))) < seconds:
        kind = chance.choices(KINDS, [kind.share for kind in KINDS])[0]
        additional = chance.random() < more / (1.0 + more)
        if not additional:
            yield when, kind
        elif burst.begin <= when < burst.end:
            yield when, KINDS[0]


class Load:
    """The clients of one shop, and what became of their requests."""

    def __init__(self, port: int) -> None:
        self.answers: list[Answer] = []
        self.promised: dict[str, float] = {}  # payments answered 202, and when
        self._port = port
        self._began = 0.0
        self._numbers = count(1)

    async def send(
        self, ctx: Context, coming: Iterator[tuple[float, Kind]], began: float
    ) -> None:
        """Send what comes, and wait for those that are still on their way."""
        self._began = began
        async with WaitGroup(ctx) as clients:
            for when, kind in coming:
                pause = began + when - time.monotonic()
                if pause > 0.0:
                    await ctx.sleep_async(pause)
                clients.go_with(ctx, self.one, kind, began + when)

    async def one(self, ctx: Context, kind: Kind, due: float) -> None:
        """One client with one request."""
        number, late = next(self._numbers), time.monotonic() - due
        path = kind.path(number)
        headers = (
            f"{TIMEOUT}X-Request-ID: {kind.name}-{number}\r\nX-User: u{number}\r\n"
        )
        status = 0
        try:
            with ctx.with_timeout(PATIENCE):
                status, _ = await request(self._port, kind.method, path, headers)
        except (OSError, ValueError, DeadlineExceeded):
            pass  # no answer: status 0
        now = time.monotonic()
        if kind.name == PAYMENT and status == 202:
            self.promised[path.rpartition("/")[2]] = now
        since = due - self._began
        self.answers.append(Answer(kind.name, since, now - due, status, late))

    async def measure(self, ctx: Context, clients: int, seconds: float) -> float:
        """How many requests a second are answered to so many clients that do wait."""
        coming = arrivals(1.0, NO_BURST, FOREVER, seed=1)
        until = time.monotonic() + seconds

        async def client(ctx: Context) -> None:
            while time.monotonic() < until:
                _, kind = next(coming)
                await self.one(ctx, kind, time.monotonic())

        async with WaitGroup(ctx) as working:
            for _ in range(clients):
                working.go(client)
        return sum(not answer.failed for answer in self.answers) / seconds
