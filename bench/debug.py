"""Looking into a process with 41,000 stuck tasks: the live page, aiomonitor, py-spy.

The tasks are of the handler of the demo's incident. All look into the same process. It
says of itself how long its event loop stood still meanwhile, and how much more memory
it had at most.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import socket
import subprocess
import sys
import sysconfig
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns as now
from time import sleep
from typing import Any, Literal

import httpx

from bench._measure import Case, Effort, Run, Side
from demo.data import Cart
from demo.prefetch import Recommended
from demo.prefetch.incident import Prefetches
from tether import background, debug
from tether.ext.httpx import AsyncClient

ROOT = Path(__file__).resolve().parents[1]
TASKS, FEW = 41_000, 500
HOLDERS = 20
TICK = 0.001  # seconds between two steps of the loop, when nothing is in the way
NOBODY = "nobody asks"


# -- the process -----------------------------------------------------------------------


class Loop:
    """How long the loop has stood still, at most, since somebody asked."""

    def __init__(self) -> None:
        self.gap = 0

    async def tick(self) -> None:
        last = now()
        while True:
            await asyncio.sleep(TICK)
            at = now()
            self.gap, last = max(self.gap, at - last), at


PROC = Path("/proc/self")


def peak() -> int:
    """The most memory it has had, in bytes, since the last call of `forget`.

    0 where the system does not tell.
    """
    if not (PROC / "clear_refs").exists():
        return 0
    lines = (PROC / "status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if "VmHWM:" in line) * 1024


def forget() -> None:
    """Have `peak` begin anew."""
    if (PROC / "clear_refs").exists():
        (PROC / "clear_refs").write_text("5", encoding="ascii")


class Stuck(httpx.AsyncBaseTransport):
    """A service that answers no more, behind a few connections.

    In place of the pool of httpx, whose work for each request grows with the number of
    those that wait: this many would take it an hour.
    """

    def __init__(self) -> None:
        self._connections = asyncio.Semaphore(HOLDERS)
        self._never = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with self._connections:
            await self._never.wait()
        raise httpx.ReadTimeout("it never answers", request=request)


class Incident:
    """The handler of the demo's incident, on a service that answers no more."""

    def __init__(self) -> None:
        client = AsyncClient(base_url="http://recommendations", transport=Stuck())
        self._prefetches = Prefetches(background(), Recommended(client), 0)

    async def serve(self, count: int) -> None:
        """Answer so many requests for a cart; the task of each stays."""
        for number in range(count):
            with background().with_timeout(3.0, label="GET /carts/{id}") as request:
                self._prefetches.start(request, Cart(number, [], b""))
            if number % 100 == 99:
                await asyncio.sleep(0.0)

    def end(self) -> None:
        for task in [*self._prefetches._tasks]:
            task.cancel()


async def be_sick(count: int) -> None:
    """Have so many tasks, be looked at, and tell of it, until stdin is closed."""
    import aiomonitor

    loop, running = Loop(), asyncio.get_running_loop()
    page = debug.serve(port=0)
    incident = Incident()
    await incident.serve(count)
    ticking = asyncio.create_task(loop.tick())
    monitor = aiomonitor.start_monitor(
        running, port=0, webui_port=free_port(), console_enabled=False
    )
    await asyncio.sleep(0.5)
    over = running.create_future()

    def tell() -> None:
        print(json.dumps({"page": page.url, "web": monitor._webui_port}), flush=True)
        before = 0
        for line in sys.stdin:
            if line == "begin\n":
                forget()
                before, loop.gap = peak(), 0
                print("{}", flush=True)
            else:
                said = {"gap": loop.gap, "memory": max(0, peak() - before)}
                print(json.dumps(said), flush=True)
        running.call_soon_threadsafe(over.set_result, None)

    threading.Thread(target=tell, daemon=True).start()
    await over
    ticking.cancel()
    incident.end()
    monitor.close()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


class Sick:
    """The process, from outside; started when first needed."""

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        self.child: subprocess.Popen[str] | None = None
        self.where: dict[str, Any] = {}

    def start(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "bench.debug", str(self.tasks)],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.child.stdin is not None
        atexit.register(self.child.wait)
        atexit.register(self.child.stdin.close)
        self.where = self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.child is not None
        assert self.child.stdout is not None
        said = self.child.stdout.readline()
        if not said:
            raise ChildProcessError("the process did not start")
        found: dict[str, Any] = json.loads(said)
        return found

    def tell(self, word: str) -> dict[str, Any]:
        assert self.child is not None
        assert self.child.stdin is not None
        self.child.stdin.write(word + "\n")
        self.child.stdin.flush()
        return self.answer()

    def measured(self, ask: Callable[[Sick], object]) -> dict[str, int]:
        """What it takes to ask."""
        if self.child is None:
            self.start()
        self.tell("begin")
        start = now()
        ask(self)
        took = now() - start
        sleep(2 * TICK)  # for the loop to notice
        return {"took": took, **self.tell("end")}


# -- who looks -------------------------------------------------------------------------


def nobody(_: Sick) -> None:
    sleep(0.2)


def page(path: str) -> Callable[[Sick], None]:
    def ask(sick: Sick) -> None:
        with urllib.request.urlopen(sick.where["page"] + path, timeout=60.0) as answer:
            assert len(answer.read()) > 100

    return ask


def aiomonitor(sick: Sick) -> None:
    """What its web page asks for: the list of all tasks."""
    url = f"http://127.0.0.1:{sick.where['web']}/api/live-tasks"
    body = urllib.parse.urlencode({"filter": "", "persistent": "false"}).encode()
    with urllib.request.urlopen(url, body, timeout=60.0) as answer:
        assert len(json.load(answer)["tasks"]) >= sick.tasks


def py_spy(sick: Sick) -> None:
    """The stacks of its threads. Of tasks it knows nothing."""
    assert sick.child is not None
    program = Path(sysconfig.get_path("scripts"), "py-spy")
    done = subprocess.run(
        [str(program), "dump", "--pid", str(sick.child.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().partition("\n")[0])


WHO: dict[str, Callable[[Sick], object]] = {
    "tether's page, as JSON": page("debug/tether.json"),
    "tether's page, as text": page("debug/tether.txt"),
    "tether's page, as a profile": page("debug/pprof/goroutine"),
    "aiomonitor, the list of tasks": aiomonitor,
    "py-spy dump, the threads alone": py_spy,
}


def cases(effort: Effort) -> Sequence[Case]:
    """Three questions about each who asks."""
    sick = Sick(TASKS if effort.large else FEW)

    def asking(who: Callable[[Sick], object], what: str) -> Run:
        def run(n: int) -> list[int]:
            return [sick.measured(who)[what] for _ in range(n)]

        return run

    def case(name: str, what: str, unit: Literal["ns", "bytes"]) -> Case:
        them = WHO if what == "took" else {NOBODY: nobody, **WHO}
        sides = [Side(who, asking(ask, what)) for who, ask in them.items()]
        return Case(f"{sick.tasks:,} tasks: {name}", sides[0].name, sides, unit, n=1)

    return [
        case("until it is answered", "took", "ns"),
        case("the longest that its event loop stood still", "gap", "ns"),
        case("memory it took beyond what it had", "memory", "bytes"),
    ]


if __name__ == "__main__":
    asyncio.run(be_sick(int(sys.argv[1])))
