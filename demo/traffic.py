"""The clients: some wait for their answer, some hang up.

Plain sockets, because hanging up means closing the connection at a given moment.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENT = 8.0  # seconds
LOOK = 0.1
SETTLE = 3.0  # what is still at work then does not end by itself
LAST = 20
GRACE = 0.25  # what a server may take to notice that a client has left


@dataclass(frozen=True)
class Kind:
    """One kind of client: what it asks for, how often, and how long it waits."""

    name: str
    path: Callable[[], str]
    per_second: float
    patience: float
    method: str = "GET"


PAYMENT = Kind("payment", lambda: f"/payments/{uuid.uuid4()}", 5.0, PATIENT, "POST")
KINDS = [
    Kind("user", lambda: f"/users/{random.randrange(1000)}", 25.0, PATIENT),
    Kind("report, waits", lambda: "/report", 0.4, PATIENT),
    Kind("report, hangs up", lambda: "/report", 2.0, 0.3),
    Kind("feed, waits", lambda: "/feed", 1.0, PATIENT),
    Kind("feed, hangs up", lambda: "/feed", 8.0, 0.3),
    Kind("product", lambda: f"/products/{random.randrange(100)}", 5.0, PATIENT),
    Kind("dashboard", lambda: "/dashboard", 2.0, PATIENT),
    PAYMENT,
    Kind("cart", lambda: f"/carts/{random.randrange(1000)}", 20.0, PATIENT),
]


@dataclass
class Seen:
    """What the clients of one gateway have seen."""

    answers: Counter[int] = field(default_factory=Counter)
    hung_up: dict[str, float] = field(default_factory=dict)
    failed: int = 0
    promised: set[str] = field(default_factory=set)  # payments answered with 202
    captured: set[str] = field(default_factory=set)  # as the other service says
    user_seconds: list[float] = field(default_factory=list)
    handlers: list[int] = field(default_factory=list)  # whose client left, per look
    queries: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """The figures, by name."""
        times = sorted(self.user_seconds) or [0.0]
        errors = sum(n for status, n in self.answers.items() if status >= 500)
        return {
            "requests": self.answers.total() + len(self.hung_up) + self.failed,
            "answered 200": self.answers[200],
            "answered 502": self.answers[502],
            "answered 504": self.answers[504],
            "other errors": (
                errors - self.answers[502] - self.answers[504] + self.failed
            ),
            "clients that hung up": len(self.hung_up),
            "handlers without a client, most": max(self.handlers, default=0),
            "handlers without a client, at the end": self.handlers[-1],
            "queries without a client, most": max(self.queries, default=0),
            "queries without a client, at the end": self.queries[-1],
            "users p50 ms": round(statistics.median(times) * 1000, 1),
            "users p99 ms": round(times[int(len(times) * 0.99)] * 1000, 1),
            "payments promised": len(self.promised),
            "payments lost": len(self.promised - self.captured),
            "tasks, most": max(self.tasks),
            "tasks more than at the start": max(0, self.tasks[-1] - self.tasks[0]),
            "threads more than at the start": max(
                0, self.threads[-1] - self.threads[0]
            ),
        }


async def drive(port: int, seconds: float, tell: Callable[[str], None]) -> Seen:
    """Send the traffic for so long, look on, and look once more when it is over."""
    seen = Seen()
    await _look(port, seen)
    clients: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    sent = Counter[str]()
    told = 0
    while (passed := time.monotonic() - began) < seconds:
        for kind in KINDS:
            while sent[kind.name] < passed * kind.per_second:
                sent[kind.name] += 1
                name = f"{kind.name} {sent[kind.name]}".replace(" ", "-")
                client = asyncio.create_task(_client(port, kind, name, seen))
                clients.add(client)
                client.add_done_callback(clients.discard)
        await _look(port, seen)
        if passed >= told:
            told += 1
            tell(
                f"{passed:4.1f} s  {sent.total():4d} sent"
                f"  {len(seen.hung_up):3d} hung up"
                f"  without a client: {seen.handlers[-1]:3d} handlers"
                f" {seen.queries[-1]:2d} queries"
            )
        await asyncio.sleep(LOOK)
    waiting = [client for client in clients if client.get_name()]
    if waiting:
        await asyncio.wait(waiting, timeout=3.0)
    for client in [*clients]:
        client.cancel()
    until = time.monotonic() + SETTLE
    await _look(port, seen)
    while seen.tasks[-1] > seen.tasks[0] and time.monotonic() < until:
        await asyncio.sleep(LOOK)
        await _look(port, seen)
    # Promised at the last moment: the gateway is stopped while they are on their way.
    await asyncio.gather(
        *(_client(port, PAYMENT, f"last-{n}", seen) for n in range(LAST))
    )
    return seen


async def _client(port: int, kind: Kind, name: str, seen: Seen) -> None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(kind.patience):
            status, body = await _request(port, kind.method, kind.path(), name)
    except TimeoutError:
        seen.hung_up[name] = time.monotonic()
    except (OSError, ValueError, asyncio.IncompleteReadError):
        seen.failed += 1
    else:
        seen.answers[status] += 1
        if status == 202:
            seen.promised.add(json.loads(body)["payment"])
        if kind.name == "user":
            seen.user_seconds.append(time.monotonic() - began)


async def _look(port: int, seen: Seen) -> None:
    async with asyncio.timeout(PATIENT):
        _, body = await _request(port, "GET", "/_stats", "look")
    stats = json.loads(body)
    before = time.monotonic() - GRACE
    left = {name for name, when in seen.hung_up.items() if when < before}
    seen.handlers.append(len(left.intersection(stats["handlers"])))
    seen.queries.append(len(left.intersection(stats["queries"])))
    seen.tasks.append(stats["tasks"])
    seen.threads.append(stats["threads"])


async def captured(port: int) -> set[str]:
    """The payments that have arrived where the money is."""
    _, body = await _request(port, "GET", "/charges", "look")
    return set(json.loads(body))


async def _request(port: int, method: str, path: str, name: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n"
        writer.write(f"{head}X-Request-Id: {name}\r\n\r\n".encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    return int(head_bytes.split(b" ", 2)[1] if head_bytes else b"0"), body
