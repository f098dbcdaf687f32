"""Who stops how soon when a gRPC call ends: measures, and writes it into the docs.

    python -m tests.ext.grpc_matrix [--write]

Four kinds of method, servers of threads and of tasks, three ends, ROUNDS times each;
and a chain of three services.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, generate_latest

from tests.ext.grpc_serving import (
    FLAVORS,
    KINDS,
    PATIENCE,
    Ends,
    begun,
    samples,
    serving,
    task_methods,
    thread_methods,
)
from tether import DeadlineExceeded, background, current
from tether.ext.grpc import call

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "grpc.md"
CELLS = "<!-- cells -->", "<!-- end of cells -->"
CHAIN = "<!-- chain -->", "<!-- end of chain -->"
BUDGET, WORK = 0.5, 0.2  # seconds
ROUNDS = 50
DEADLINE = 0.05  # seconds
GRACE = 0.05
EVENTS = ["deadline", "client cancels", "server stops"]


@dataclass
class Cell:
    """What was seen in all rounds."""

    late: list[float] = field(default_factory=list)  # seconds
    ends: set[str] = field(default_factory=set)
    client: set[str] = field(default_factory=set)
    server: set[str] = field(default_factory=set)

    def row(self, *names: str) -> str:
        """A line of the table."""
        p50, most = (f"{1000 * t:.1f}" for t in (median(self.late), max(self.late)))
        seen = [", ".join(sorted(one)) for one in (self.ends, self.client, self.server)]
        return f"| {' | '.join([*names, seen[0], p50, most, *seen[1:]])} |"


def once(flavor: str, kind: str, event: str, cell: Cell) -> None:
    """One call, from its begin to its end."""
    ends, registry = Ends(), CollectorRegistry()
    methods = thread_methods(ends), task_methods(ends)
    with serving(flavor, *methods, metrics=registry) as served:
        served.method("None").future(b"").exception()  # the connection
        timeout = DEADLINE if event == "deadline" else None
        began = time.monotonic()
        with begun(served, kind, timeout=timeout) as rpc:
            ends.begun.get(timeout=PATIENCE)
            if event == "deadline":
                due = began + DEADLINE
            elif event == "client cancels":
                due = time.monotonic()
                rpc.cancel()
            else:
                due = time.monotonic() + GRACE
                stopping = threading.Thread(target=served.stop, args=(GRACE,))
                stopping.start()
            err, cause = ends.ended.get(timeout=PATIENCE)
            cell.late.append(ends.at - due)
            cell.ends.add(f"{type(err).__name__}, {type(cause).__name__}")
            cell.client.add(rpc.code().name)
    for name, code, *_ in samples(registry):
        if name == "grpc_server_handled_total":
            cell.server.add(code)


def rows() -> list[str]:
    """The table."""
    head = "server", "method", "end", "the context", "p50, ms", "max, ms"
    names = *head, "client sees", "`grpc_code`"
    found = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for flavor in FLAVORS:
        for kind in KINDS:
            for event in EVENTS:
                cell = Cell()
                for _ in range(ROUNDS):
                    once(flavor, kind, event, cell)
                found.append(cell.row(flavor, f"`{kind}`", event))
                sys.stdout.write(f"{found[-1]}\n")
                sys.stdout.flush()
    return found


def chain() -> list[str]:
    """Three services, of which each works a while and then calls the next one."""
    left: list[str] = []

    def serve(request: bytes, _: object) -> bytes:
        ctx = current()
        left.append(f"{ctx.remaining():.3f}")
        ctx.sleep(WORK)
        address, _sep, rest = request.partition(b" ")
        with grpc.insecure_channel(address.decode()) as channel:
            method: Any = channel.unary_unary("/shop.Stock/Get")
            return bytes(call(ctx, method, rest))

    registry = CollectorRegistry()
    methods: dict[str, Any] = {"Get": grpc.unary_unary_rpc_method_handler(serve)}
    with ExitStack() as open_:
        served = [
            open_.enter_context(serving("threads", methods, metrics=registry))
            for _ in range(3)
        ]
        addresses = [f"127.0.0.1:{one.port}" for one in served]
        try:
            with background().with_timeout(BUDGET) as ctx:
                call(ctx, served[0].method("Get"), " ".join(addresses[1:]).encode())
        except DeadlineExceeded:
            pass
    scrape = [
        line
        for line in generate_latest(registry).decode().splitlines()
        if line.startswith(("grpc_server_handled_total", "grpc_server_deadline_left"))
        and "_created" not in line
        and not line.endswith(" 0.0")
        and not re.search(r'le="([1-9]|\+)', line)
    ]
    return [
        f"Asked with {BUDGET} s; each works {WORK} s before it calls the next one. The",
        f"three have {left[0]}, {left[1]} and {left[2]} s when they begin, and end",
        "together:",
        "",
        "```text",
        *scrape,
        "```",
    ]


def between(text: str, marks: tuple[str, str], lines: list[str]) -> str:
    """The text with these lines between the marks."""
    before, rest = text.split(marks[0])
    after = rest.split(marks[1])[1]
    return "\n".join([f"{before}{marks[0]}", "", *lines, "", f"{marks[1]}{after}"])


def main(argv: list[str]) -> int:
    """Measure, and write if asked to."""
    hops, table = chain(), rows()
    if "--write" in argv:
        text = PAGE.read_text(encoding="utf-8")
        text = between(text, CELLS, table)
        PAGE.write_text(between(text, CHAIN, hops), encoding="utf-8")
    else:
        sys.stdout.write("\n".join(hops))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
