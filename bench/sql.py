"""A statement is canceled: until PostgreSQL has stopped, ns; and its CPU before."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from itertools import count
from time import perf_counter_ns as now
from time import thread_time_ns as cpu
from typing import Any

from bench._measure import Case, Effort, Side, Where
from demo.databases.server import server
from tests.ext.alchemy import AlchemyInTasks, AlchemyInThreads
from tests.ext.stacks import Asyncpg, Stack, Tasks, Threads, drive
from tests.ext.stacks import plainly as in_thread
from tether import Context, ContextError, background

BUDGET = 0.1
LISTENS = 0.05  # seconds after which the middleware listens, and more
SETTLED = 10.0
TO_THREAD = "asyncio.to_thread, asyncio.timeout"
_marks = count()


@cache
def url() -> str:
    """A server of this process's own, with a table."""
    import psycopg

    with psycopg.connect(server().url, autocommit=True) as conn:
        conn.execute("create table if not exists benched (i int)")
    return server().url


class Spy:
    """A session that looks, as often as it can, whether a statement is at work."""

    def __init__(self) -> None:
        import psycopg

        self._conn = psycopg.connect(url(), autocommit=True)

    def close(self) -> None:
        self._conn.close()

    def sees(self, mark: str) -> bool:
        found = self._conn.execute(
            "select count(*) from pg_stat_activity "
            "where state = 'active' and query like %s and pid <> pg_backend_pid()",
            (f"%select%{mark}",),
        ).fetchone()
        return found != (0,)

    def until(self, mark: str, sees: bool) -> int:
        """Wait until it is, or is not; when that was certain."""
        until = time.monotonic() + SETTLED
        while self.sees(mark) is not sees:
            if time.monotonic() > until:
                raise TimeoutError("it runs on")
            time.sleep(0.0003)
        return now()

    def rows(self) -> object:
        found = self._conn.execute("select count(*) from benched").fetchone()
        return found and found[0]


class Run:
    """One statement, and who ends it: its deadline, or a thread that sees it run."""

    def __init__(self, spy: Spy, end: str) -> None:
        self.mark = f"-- {next(_marks)}."
        self.sql = f"select pg_sleep(20) {self.mark}"
        self._spy = spy
        self._end = end
        self._ended = self._gone = 0
        if end == "cancel":
            self.scope = background().with_cancel()
        else:
            self.scope = background().with_timeout(BUDGET)
            self._ended = now() + int(BUDGET * 1e9)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._spy.sees(self.mark):
            if self.scope.done():
                return  # the machine stood still, and it has not even begun
        if self._end == "cancel":
            self._ended = now()
            self.scope.cancel()
        self._gone = self._spy.until(self.mark, sees=False)

    def took(self) -> list[int]:
        self._thread.join()
        return [max(0, self._gone - self._ended)] if self._gone else []


async def stopped(stack: Stack, n: int, end: str) -> list[int]:
    """Insert a row, run a long statement, be stopped; nothing may be left of it."""
    took: list[int] = []
    spy = Spy()
    async with stack.pool(1, url()) as pool:
        for _ in range(10 * n):
            if len(took) == n:
                break
            run = Run(spy, end)
            pid = 0
            insert = "insert into benched values (1)"
            try:
                with run.scope as ctx:
                    async with stack.transaction(ctx, pool) as conn:
                        pid = stack.pid(conn)
                        await stack.execute(ctx, conn, insert)
                        await stack.fetch_one(ctx, conn, run.sql)
            except ContextError:
                pass
            took += run.took()
            next_one = "select pg_backend_pid(), 41 + 1"
            row = await stack.fetch_one(background(), pool, next_one)
            assert tuple(row) == (pid or row[0], 42), "another connection"
            assert spy.rows() == 0, "the row is there"
    spy.close()
    assert took, "this machine stands still"
    return took


# -- the whole chain -----------------------------------------------------------------


def hung_up(path: str) -> Callable[[int], list[int]]:
    def run(n: int) -> list[int]:
        import psycopg

        from tests.ext.chain import service
        from tests.ext.serving import get

        took: list[int] = []
        spy = Spy()
        with psycopg.connect(url(), autocommit=True) as conn:
            conn.execute("create table if not exists orders (i int)")
        with service(server()) as served:
            for _ in range(n):
                mark = f"mark-{next(_marks)}."
                client = served.ask(get(f"{path}?mark={mark}"))
                spy.until(mark, sees=True)
                time.sleep(LISTENS)
                began = now()
                client.close()
                took.append(spy.until(mark, sees=False) - began)
        spy.close()
        return took

    return run


def stacks() -> dict[str, tuple[Callable[[], Stack], Where]]:
    return {
        "psycopg, threads": (lambda: Threads(server()), "thread"),
        "psycopg, asyncio": (lambda: Tasks(server()), "asyncio"),
        "psycopg, uvloop": (lambda: Tasks(server()), "uvloop"),
        "asyncpg, asyncio": (lambda: Asyncpg(server()), "asyncio"),
        "asyncpg, uvloop": (lambda: Asyncpg(server()), "uvloop"),
        "SQLAlchemy, psycopg, threads": (lambda: AlchemyInThreads(server()), "thread"),
        "SQLAlchemy, psycopg, asyncio": (alchemy("psycopg"), "asyncio"),
        "SQLAlchemy, asyncpg, asyncio": (alchemy("asyncpg"), "asyncio"),
        "Django, threads": (lambda: Django(server()), "thread"),
    }


def alchemy(driver: str) -> Callable[[], Stack]:
    return lambda: AlchemyInTasks(server(), driver)


class Django(Threads):
    """Its connection of this thread in the place of a pool."""

    def pool(self, size: int, url: str = "") -> Any:
        del size, url

        @contextmanager
        def opened() -> Iterator[Any]:
            import django
            from django.conf import settings

            if not settings.configured:
                settings.configure(DATABASES={"default": self.server.django})
                django.setup()
            from django.db import connections

            yield connections["default"]
            connections.close_all()

        return in_thread(opened())

    def transaction(self, ctx: Context, source: Any, **options: Any) -> Any:
        from tether.ext.django import transaction

        del source
        return in_thread(transaction(ctx, **options))

    def pid(self, conn: Any) -> int:
        return super().pid(conn.connection)

    async def execute(self, ctx: Context, source: Any, sql: str) -> Any:
        await self.fetch_one(ctx, source, sql)

    async def fetch_one(self, ctx: Context, source: Any, sql: str) -> Any:
        from tether.ext.django import guard

        with guard(ctx, source), source.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone() if cursor.description else None


def running(
    where: Where, work: Callable[[int], Coroutine[Any, Any, Any]]
) -> Callable[[int], Any]:
    """A run of a side: what a stack of threads does never suspends."""
    return (lambda n: drive(work(n))) if where == "thread" else work


def stopping_sides(end: str) -> Iterator[Side]:
    for name, (make, where) in stacks().items():

        async def work(n: int, make: Callable[[], Stack] = make) -> list[int]:
            return await stopped(make(), n, end)

        yield Side(f"tether, {name}", running(where, work), where)


async def only_the_waiting(n: int) -> list[int]:
    """What `asyncio.timeout` ends is the waiting; this statement runs for 0.3 s."""
    import psycopg

    took: list[int] = []
    spy = Spy()
    with psycopg.connect(url(), autocommit=True) as conn:
        for _ in range(n):
            mark = f"-- {next(_marks)}."
            sql = f"select pg_sleep(0.3) {mark}"
            began = now()
            work = asyncio.create_task(asyncio.to_thread(conn.execute, sql))
            try:
                async with asyncio.timeout(BUDGET):
                    await asyncio.shield(work)
            except TimeoutError:
                gone = await asyncio.to_thread(spy.until, mark, sees=False)
                took.append(gone - began - int(BUDGET * 1e9))
            await work
    spy.close()
    return took


# -- the late cancel -----------------------------------------------------------------


def late_plain(n: int) -> list[int]:
    """Cancels that nobody waits for: each statement's goes astray now and then."""
    import psycopg

    killed = 0
    with psycopg.connect(url(), autocommit=True) as conn:
        for seconds in lengths(n):
            timer = threading.Timer(0.0015, conn.cancel_safe)
            timer.start()
            try:
                conn.execute(f"select pg_sleep({seconds})")
            except psycopg.errors.QueryCanceled:
                pass
            killed += not survives(conn)
            timer.join()
            survives(conn)
    return [killed]


def late_tether(n: int) -> list[int]:
    import psycopg

    from tether.ext.psycopg import execute

    killed = 0
    with psycopg.connect(url(), autocommit=True) as conn:
        for seconds in lengths(n):
            try:
                with background().with_timeout(0.0015) as ctx:
                    execute(ctx, conn, f"select pg_sleep({seconds})")
            except ContextError:
                pass
            killed += not survives(conn)
    assert killed == 0, f"{killed} innocent statements were killed"
    return [killed]


def lengths(n: int) -> Iterator[float]:
    """How long the statements take: they end just as they are canceled."""
    spread = random.Random(7)
    return (0.0005 + spread.random() * 0.002 for _ in range(n))


def survives(conn: Any) -> bool:
    import psycopg

    try:
        conn.execute("select pg_sleep(0.0015)")
    except psycopg.errors.QueryCanceled:
        return False
    return True


# -- what it costs -------------------------------------------------------------------


@asynccontextmanager
async def timed(n: int, took: list[int]) -> AsyncIterator[range]:
    began = cpu()
    yield range(n)
    took.append(cpu() - began)


async def plainly(stack: Stack, n: int, pooled: bool) -> int:
    took: list[int] = []
    if not pooled:
        async with stack.connect(url()) as conn, timed(n, took) as turns:
            for _ in turns:
                await stack.plain(conn, "select 1")
        return took[0]
    async with stack.pool(2, url()) as pool, timed(n, took) as turns:
        for _ in turns:
            if isinstance(stack, Threads):
                with pool.connection() as conn:
                    conn.execute("select 1")
            elif isinstance(stack, Tasks):
                async with pool.connection() as conn:
                    await conn.execute("select 1")
            else:
                async with pool.acquire() as conn:
                    await conn.execute("select 1")
    return took[0]


async def with_tether(stack: Stack, n: int, pooled: bool) -> int:
    took: list[int] = []
    opened = stack.pool(2, url()) if pooled else stack.connect(url())
    async with opened as source:
        with background().with_timeout(60.0) as ctx:
            async with timed(n, took) as turns:
                for _ in turns:
                    await stack.execute(ctx, source, "select 1")
    return took[0]


def cost(name: str, n: int, *, pooled: bool) -> Case:
    make, where = stacks()[name]

    async def plain(n: int) -> int:
        return await plainly(make(), n, pooled)

    async def ours(n: int) -> int:
        return await with_tether(make(), n, pooled)

    on = "of a pool" if pooled else "of one connection"
    return Case(
        f"CPU of the calling thread: select 1 {on}, {name}",
        "plain",
        [
            Side("plain", running(where, plain), where),
            Side("tether", running(where, ours), where),
        ],
        n=n,  # opening the connection would calibrate it
    )


def cases(effort: Effort) -> list[Case]:
    runs = 25 if effort.large else 1  # in at least two rounds
    races = 1000 if effort.large else 10
    statements = 500 if effort.large else 5
    by_deadline, by_cancel = stopping_sides("deadline"), stopping_sides("cancel")
    waiting = Side(TO_THREAD, only_the_waiting, "asyncio")
    found = [
        Case(
            "from the deadline until it is gone from pg_stat_activity",
            "tether, psycopg, threads",
            [*by_deadline, waiting],
            n=runs,
        ),
        Case(
            "from cancel() until it is gone from pg_stat_activity",
            "tether, psycopg, threads",
            [*by_cancel],
            n=runs,
        ),
        Case(
            "from the client's hanging up, uvicorn and FastAPI in between",
            "tether, async def endpoint",
            [
                Side("tether, async def endpoint", hung_up("/coroutine")),
                Side("tether, def endpoint", hung_up("/function")),
            ],
            n=runs,
        ),
        Case(
            f"innocent statements killed, of {races}",
            "cancel_safe, nobody waits for it",
            [
                Side("cancel_safe, nobody waits for it", late_plain),
                Side("tether", late_tether),
            ],
            unit="count",
            n=races,
        ),
    ]
    for name in ("psycopg, threads", "psycopg, asyncio", "asyncpg, asyncio"):
        found += [cost(name, statements, pooled=pooled) for pooled in (False, True)]
    for name in stacks():
        if name.startswith("SQLAlchemy"):
            found.append(cost(name, statements, pooled=False))
    return found
