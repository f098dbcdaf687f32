"""Who stops how soon when a gRPC call ends: measures, and writes it into the docs.

    python -m tests.ext.grpc_matrix [--write]

Four kinds of method, servers of threads and of tasks, three ends, ROUNDS times each.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from prometheus_client import CollectorRegistry

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

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "grpc.md"
BEGIN, END = "<!-- cells -->", "<!-- end of cells -->"
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


def main(argv: list[str]) -> int:
    """Measure, and write if asked to."""
    table = "\n".join(rows())
    if "--write" in argv:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        text = f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
