"""One shop: its services, its pods, its balancer, its database; all of it processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from demo import data
from demo.http import post_json, request
from demo.processes import Child, DidNotStartError, free_ports
from demo.supervisor import Pod
from tether import Context, DeadlineExceeded, Group, to_thread

SERVICES = ["recommendations", "reviews", "inventory", "payment"]
GRPC = "inventory"  # the others speak HTTP
READY_WITHIN = 40.0
# Without these glibc keeps what was freed, and what is in use could not be seen.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "2"}
UNLIMITED = float("inf")

Where: TypeAlias = Callable[[str], str]
"""Makes room for a database with this name, and says where: a path or a URL."""


class Shop:
    """What the demo has to do with a shop."""

    def __init__(
        self,
        variant: str,
        folder: Path,
        where: Where,
        cores: set[int],
        pods: int,
        debug: int | None = None,
    ) -> None:
        folder.mkdir()
        self.variant = variant
        self.pods: list[Pod] = []
        self.debug = debug  # the port of the live page of pod 0; the others follow
        self._folder = folder
        self._cores = cores
        ports = free_ports(len(SERVICES) + 1 + pods)
        self.port = ports.pop()  # of the balancer
        self._services = dict(zip(SERVICES, ports, strict=False))
        self._pod_ports = ports[len(SERVICES) :]
        self._children: list[Child] = []
        self._where = where
        self._databases: dict[int, str] = {}  # by the weight of their carts

    def _child(self, *words: str, log: str, **env: str) -> Child:
        path = self._folder / f"{log}.log"
        return Child(*words, env={**MALLOC, **env}, log=path, cores=self._cores)

    async def open(self, ctx: Context) -> None:
        """Start all but the pods."""
        async with Group(ctx) as group:
            for name, port in self._services.items():
                words = [f"demo.upstreams.{name}", str(port)]
                if name == GRPC:  # a program of its own kind
                    group.go(_listens, port, self._started(*words, log=name))
                else:
                    child = self._started("demo.serve", *words, log=name)
                    group.go(_answers, port, "/", lambda _: True, child)
            ports = map(str, (self.port, *self._pod_ports))
            child = self._started("demo.balancer", *ports, log="balancer")
            group.go(_answers, self.port, "/", lambda _: True, child)

    def _started(self, *words: str, log: str) -> Child:
        self._children.append(self._child(*words, log=log))
        return self._children[-1]

    async def start_pods(
        self,
        ctx: Context,
        watchers: Group,
        tell: Callable[[str, str], None],
        *,
        count: int,
        weight: int,
        places: int,
        limit: float,
    ) -> None:
        """Start so many pods, and wait until the balancer has them."""
        if weight not in self._databases:
            made = self._databases[weight] = self._where(f"{self.variant}-{weight}")
            await to_thread(ctx, data.create, made, weight)
        env = {
            f"DEMO_{name.upper()}": f"http://127.0.0.1:{port}"
            for name, port in self._services.items()
        }
        env[f"DEMO_{GRPC.upper()}"] = f"127.0.0.1:{self._services[GRPC]}"
        env |= {"DEMO_DATABASE": self._databases[weight], "DEMO_LIMIT": str(places)}
        env["DEMO_PREFETCH"] = self.variant

        def starter(number: int, port: int) -> Callable[[], Child]:
            words = ("demo.serve", "demo.gateway", str(port))
            page = "" if self.debug is None else str(self.debug + number)
            return lambda: self._child(
                *words, log=f"pod-{number}", DEMO_DEBUG=page, **env
            )

        self.pods = [
            Pod(number, port, starter(number, port), limit)
            for number, port in enumerate(self._pod_ports[:count])
        ]
        for pod in self.pods:
            watchers.go(pod.watch, tell)
        async with Group(ctx) as group:
            for pod in self.pods:
                group.go(
                    _answers, pod.port, "/readyz", lambda status: status == 200, pod
                )
            group.go(_answers, self.port, "/users/1", lambda status: status == 200)

    async def degrade(self, latency: float) -> None:
        """Have the recommendations for carts take so long."""
        port = self._services["recommendations"]
        await post_json(port, "/_behavior", {"latency": latency})

    async def captured(self) -> set[str]:
        """The payments that have arrived where the money is."""
        _, body = await request(self._services["payment"], "GET", "/captures")
        return set(json.loads(body))

    async def stop_pods(self, ctx: Context) -> None:
        """SIGTERM to all pods, and wait for them."""
        for pod in self.pods:
            pod.stop()
        for pod in self.pods:
            await pod.stopped(ctx)

    def close(self) -> None:
        """End all processes, whatever they do."""
        for pod in self.pods:
            pod.end()
        for child in self._children:
            if not child.is_over():
                child.kill()


@asynccontextmanager
async def shop(
    ctx: Context,
    variant: str,
    folder: Path,
    where: Where,
    cores: set[int],
    pods: int,
    *,
    debug: int | None = None,
) -> AsyncIterator[Shop]:
    """A block with a shop, its pods still to be started; it ends with the block.

    `debug` is the port at which the first pod has its live page, the next one has its
    at the next port, and so on.
    """
    made = Shop(variant, folder, where, cores, pods, debug)
    try:
        await made.open(ctx)
        yield made
    finally:
        made.close()


async def _answers(
    ctx: Context,
    port: int,
    path: str,
    accept: Callable[[int], bool],
    process: Child | Pod | None = None,
) -> None:
    """Wait until a server of HTTP answers."""

    async def ask() -> bool:
        status, _ = await request(port, "GET", path)
        return accept(status)

    await _ready(ctx, ask, f"answer at {path}", process)


async def _listens(ctx: Context, port: int, process: Child) -> None:
    """Wait until a server takes connections."""

    async def connect() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    await _ready(ctx, connect, f"server on port {port}", process)


async def _ready(
    ctx: Context,
    try_it: Callable[[], Awaitable[bool]],
    what: str,
    process: Child | Pod | None,
) -> None:
    child = process.child if isinstance(process, Pod) else process
    try:
        with ctx.with_timeout(READY_WITHIN) as waiting:
            while True:
                try:
                    with waiting.with_timeout(2.0):
                        if await try_it():
                            return
                except (OSError, DeadlineExceeded):
                    pass  # not yet
                if child is not None and child.is_over():
                    raise DidNotStartError(f"{child.name} has ended:\n{child.said()}")
                await asyncio.sleep(0.05)
    except DeadlineExceeded:
        said = "" if child is None else f" {child.name}:\n{child.said()}"
        raise DidNotStartError(f"no {what} within {READY_WITHIN:g} s;{said}") from None
