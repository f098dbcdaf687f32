"""A task of a Dask cluster, of Celery workers: what it costs, how soon it stops."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

from distributed import Client

from bench._measure import Case, Effort, Side
from demo.databases.server import server as postgres
from tests.ext import celery_work, dask_cluster, dask_work
from tests.ext.celery_workers import Workers
from tests.ext.notes import notes
from tests.ext.redis_server import server as redis
from tests.ext.watching import Watch, mark
from tether import background
from tether.ext import celery, dask

WORKERS = 3
BATCH = 100
PATIENCE = 60.0
ROOT = Path(__file__).parents[1]
BUDGET = 1000.0


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise RuntimeError("it did not come")
        time.sleep(0.001)


class Logs:
    """A file for each sample, in which the tasks note their beginning and end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._numbers = count()

    def new(self) -> Path:
        return Path(self._folder.name) / str(next(self._numbers))


def begun(log: Path, tasks: int) -> None:
    """Wait until so many have started."""
    until(lambda: noted(log, "started") >= tasks)


def ended(log: Path, tasks: int) -> int:
    """Wait until so many have stopped; when that was."""
    until(lambda: noted(log, "stopped") >= tasks)
    return now()


def check(log: Path, tasks: int) -> None:
    """No more than these may have started."""
    if (started := noted(log, "started")) != tasks:
        raise RuntimeError(f"{started - tasks} that waited have started")


def noted(log: Path, what: str) -> int:
    return sum(line.startswith(what) for line in notes(log))


# -- Dask ----------------------------------------------------------------------------


def plain_double(number: int) -> int:
    return 2 * number


class Dask:
    """The sides on a cluster of three processes; one cluster for all of them."""

    def __init__(self, threads: int) -> None:
        self._slots = WORKERS * threads
        self._logs = Logs()
        stack = ExitStack()
        atexit.register(stack.close)
        self._cluster = stack.enter_context(
            dask_cluster.local(WORKERS, threads, processes=True)
        )
        self._client = stack.enter_context(Client(self._cluster))
        self._client.wait_for_workers(WORKERS)

    def one_plain(self, n: int) -> int:
        began = now()
        for number in range(n):
            self._client.submit(plain_double, number, pure=False).result()
        return now() - began

    def one_tether(self, n: int) -> int:
        with background().with_timeout(BUDGET) as ctx:
            began = now()
            for number in range(n):
                dask.submit(ctx, self._client, dask_work.double, number).result()
            return now() - began

    def many_plain(self, n: int) -> int:
        began = now()
        for _ in range(n):
            futures = self._client.map(plain_double, range(BATCH), pure=False)
            self._client.gather(futures)
        return now() - began

    def many_tether(self, n: int) -> int:
        with background().with_timeout(BUDGET) as ctx:
            began = now()
            for _ in range(n):
                calls = dask.map(ctx, self._client, dask_work.double, range(BATCH))
                dask.gather(ctx, calls)
            return now() - began

    def canceled(self, running: int, queued: int, n: int) -> list[int]:
        samples = []
        for _ in range(n):
            log = self._logs.new()
            items = [str(log)] * (running + queued)
            with background().with_cancel() as ctx:
                calls = dask.map(ctx, self._client, dask_work.wait, items)
                begun(log, running)
                began = now()
                ctx.cancel()
                samples.append(ended(log, running) - began)
            del calls
            self._check()
            check(log, running)
        return samples

    def late(self, tasks: int, what: Callable[[list[int]], int], n: int) -> list[int]:
        """Of short tasks that compute: what of the beginnings after the cancel."""
        samples = []
        for _ in range(n):
            log = self._logs.new()
            items = [str(log)] * tasks
            with background().with_cancel() as ctx:
                calls = dask.map(ctx, self._client, dask_work.compute, items)
                begun(log, tasks // 10)
                at = time.monotonic_ns()
                ctx.cancel()
            self._check()
            del calls
            began = [int(line.split()[-1]) - at for line in notes(log)]
            samples.append(what([after for after in began if after > 0]))
        return samples

    def killed(self, running: int, queued: int, n: int) -> list[int]:
        samples = []
        for _ in range(n):
            log = self._logs.new()
            code = f"""if True:
                from distributed import Client
                from tests.ext import dask_work as work
                from tether import background
                from tether.ext import dask
                client = Client({self._cluster.scheduler_address!r})
                items = [{str(log)!r}] * {running + queued}
                calls = dask.map(background(), client, work.wait, items)
                calls[0].result()
            """
            with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
                begun(log, running)
                began = now()
                process.kill()
            samples.append(ended(log, running) - began)
            self._check()
            check(log, running)
        return samples

    def in_a_query(self, n: int) -> list[int]:
        samples = []
        with Watch(postgres()) as watch:
            for _ in range(n):
                sql, name = mark("select pg_sleep(600)")
                with background().with_cancel() as ctx:
                    call = dask.submit(
                        ctx, self._client, dask_work.query, postgres().url, sql
                    )
                    watch.until(name, runs=True)
                    began = now()
                    ctx.cancel()
                    watch.until(name, runs=False)
                    samples.append(now() - began)
                del call
        return samples

    def _check(self) -> None:
        """All threads are free, and what they do is right."""
        ctx, numbers = background(), range(2 * self._slots)
        calls = dask.map(ctx, self._client, dask_work.double, numbers)
        if dask.gather(ctx, calls) != [2 * number for number in numbers]:
            raise RuntimeError("the workers are not right")


# -- Celery --------------------------------------------------------------------------


class Celery:
    """The sides on three workers with so many processes each, and a Redis."""

    def __init__(self, processes: int) -> None:
        self._slots = WORKERS * processes
        self._logs = Logs()
        url = f"redis://127.0.0.1:{redis().port}/9"
        app = celery_work.app
        app.conf.update(broker_url=url, result_backend=url)
        log = self._logs.new()
        workers = Workers(celery_work.__name__, url, log, WORKERS, processes)
        atexit.register(workers.stop)
        until(lambda: len(app.control.ping(timeout=0.5) or []) == WORKERS)

    def one_plain(self, n: int) -> int:
        began = now()
        for number in range(n):
            celery_work.plain_double.delay(number).get()
        return now() - began

    def one_tether(self, n: int) -> int:
        with background().with_timeout(BUDGET) as ctx:
            began = now()
            for number in range(n):
                celery.call(ctx, celery_work.double, number)
            return now() - began

    def many_plain(self, n: int) -> int:
        began = now()
        for _ in range(n):
            results = [celery_work.plain_double.delay(k) for k in range(BATCH)]
            for result in results:
                result.get()
        return now() - began

    def many_tether(self, n: int) -> int:
        with background().with_timeout(BUDGET) as ctx:
            began = now()
            for _ in range(n):
                results = [
                    celery.send(ctx, celery_work.double, k) for k in range(BATCH)
                ]
                for result in results:
                    celery.wait(ctx, result)
            return now() - began

    def canceled(self, running: int, queued: int, n: int) -> list[int]:
        samples = []
        for _ in range(n):
            log = self._logs.new()
            ctx = background()
            results = [
                celery.send(ctx, celery_work.wait, str(log))
                for _ in range(running + queued)
            ]
            begun(log, running)
            began = now()
            celery.cancel(*results)
            samples.append(ended(log, running) - began)
            self._check()
            check(log, running)
        return samples

    def _check(self) -> None:
        """All processes are free, and what they do is right."""
        with background().with_timeout(PATIENCE) as ctx:
            numbers = range(2 * self._slots)
            results = [celery.send(ctx, celery_work.double, k) for k in numbers]
            told = [celery.wait(ctx, result) for result in results]
        if told != [2 * number for number in numbers]:
            raise RuntimeError("the workers are not right")


def cases(effort: Effort) -> Sequence[Case]:
    """What is measured; three workers with 34 threads or processes each."""
    width, queued = (34, 400) if effort.large else (2, 10)
    on_dask, on_celery = Dask(width), Celery(width)
    few, short = Dask(2), 2000 if effort.large else 40
    slots = WORKERS * width
    alone = "a task runs: until it has stopped"
    many = f"{slots} tasks run, {queued} wait: until the last has stopped"
    return [
        *costs("Dask", "Client.submit, map", on_dask),
        stops(f"Dask, {alone}", partial(on_dask.canceled, 1, 0)),
        stops(
            f"Dask, {many}",
            partial(on_dask.canceled, slots, queued),
            Side("the submitter gets SIGKILL", partial(on_dask.killed, slots, queued)),
        ),
        Case(
            f"Dask, {short} tasks compute for 20 ms each: how many begin yet",
            "canceled",
            [Side("canceled", partial(few.late, short, len))],
            unit="count",
            n=1,
        ),
        stops(
            f"Dask, {short} tasks compute for 20 ms each: until the last begins",
            partial(few.late, short, partial(max, default=0)),
        ),
        stops("Dask, a task in PostgreSQL: until that has stopped", on_dask.in_a_query),
        *costs("Celery", "delay, get", on_celery),
        stops(f"Celery, {alone}", partial(on_celery.canceled, 1, 0)),
        stops(f"Celery, {many}", partial(on_celery.canceled, slots, queued)),
    ]


def stops(name: str, canceled: Callable[[int], list[int]], *others: Side) -> Case:
    """How soon something is over."""
    return Case(name, "canceled", [Side("canceled", canceled), *others], n=1)


def costs(engine: str, plain: str, sides: Any) -> list[Case]:
    """The same task with and without tether."""
    return [
        Case(
            f"{engine}, one task, there and back",
            plain,
            [Side(plain, sides.one_plain), Side("tether", sides.one_tether)],
        ),
        Case(
            f"{engine}, one task of {BATCH} that are sent together",
            plain,
            [
                Side(plain, sides.many_plain, per=BATCH),
                Side("tether", sides.many_tether, per=BATCH),
            ],
        ),
    ]
