"""Statements, transactions and pools on a real PostgreSQL, for each driver alike."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from demo.databases.server import Server
from tests.core.support import LONG, start
from tests.ext.stacks import STACKS, Stack, play
from tests.ext.watching import Line, Watch, mark, once_it_runs, table
from tether import Canceled, Context, ContextError, DeadlineExceeded, background
from tether._errors import CommitUnknown

Test = Callable[[Stack], Coroutine[Any, Any, None]]
ENDLESS = "select pg_sleep(600)"
SOON = 15.0  # far less than that, and more than a grace on a busy machine

_tables = count()


@pytest.fixture(params=STACKS)
def on(request: pytest.FixtureRequest, postgres: Server) -> Callable[[Test], None]:
    """Call it with a test, which runs on one of the stacks."""
    return lambda test: play(request.param, postgres, test)


@pytest.fixture
def rows(postgres: Server) -> Iterator[str]:
    """A table with one column, i."""
    with table(postgres, f"rows_{next(_tables)}") as name:
        yield name


@pytest.fixture
def watch(postgres: Server) -> Iterator[Watch]:
    with Watch(postgres) as watch:
        yield watch


@asynccontextmanager
async def standing_still(pid: int) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def is_whole(stack: Stack, pool: Any, size: int) -> None:
    """All connections of a pool are to be had at once, and in order."""
    arrived: list[int] = []
    everyone = threading.Barrier(size) if not stack.in_tasks else asyncio.Barrier(size)

    async def one() -> int:
        with background().with_timeout(LONG) as ctx:
            async with stack.transaction(ctx, pool) as conn:
                arrived.append(stack.pid(conn))
                row = await stack.fetch_one(ctx, conn, "select 41 + 1")
                assert row[0] == 42
                waited = everyone.wait()
                if not isinstance(waited, int):
                    await waited
        return 1

    assert await stack.together(*[one] * size) == [1] * size
    assert len(set(arrived)) == size


# -- results -------------------------------------------------------------------------


def test_rows_come_as_the_driver_makes_them(
    on: Callable[[Test], None], rows: str
) -> None:
    async def test(stack: Stack) -> None:
        ctx = background()
        async with stack.pool(1) as pool:
            for source in ("pool", "connection"):
                async with stack.connect() as conn:
                    at = pool if source == "pool" else conn
                    await stack.execute(ctx, at, f"insert into {rows} values (1), (2)")
                    found = await stack.fetch_all(ctx, at, f"select i from {rows}")
                    assert [tuple(row) for row in found] == [(1,), (2,)]
                    one = await stack.fetch_one(ctx, at, f"select i from {rows}")
                    assert tuple(one) == (1,)
                    nothing = f"select i from {rows} where i = 9"
                    assert await stack.fetch_one(ctx, at, nothing) is None
                    assert await stack.fetch_all(ctx, at, nothing) == []
                    await stack.execute(ctx, at, f"delete from {rows}")

    on(test)


def test_the_drivers_own_errors_pass(on: Callable[[Test], None]) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with background().with_timeout(LONG) as ctx:
                with pytest.raises(stack.error, match="syntax"):
                    await stack.execute(ctx, pool, "selec")
                with pytest.raises(stack.error, match="division"):
                    await stack.fetch_one(ctx, pool, "select 1 / 0")
            await is_whole(stack, pool, 1)

    on(test)


def test_an_administrators_cancel_is_not_ours(
    on: Callable[[Test], None], watch: Watch
) -> None:
    sql, name = mark(ENDLESS)

    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            pid = stack.pid(conn)

            def cancel() -> None:
                while watch.runs(name):  # one that comes between two messages is lost
                    watch.value(f"select pg_cancel_backend({pid})")
                    time.sleep(0.01)

            with background().with_timeout(LONG) as ctx:
                with once_it_runs(stack.server, name, cancel):
                    with pytest.raises(stack.canceled):
                        await stack.fetch_one(ctx, conn, sql)

    on(test)


# -- one statement -------------------------------------------------------------------


@pytest.mark.parametrize("call", ["execute", "fetch_one", "fetch_all"])
@pytest.mark.parametrize("source", ["connection", "pool"])
def test_a_statement_ends_with_its_deadline(
    on: Callable[[Test], None], watch: Watch, source: str, call: str
) -> None:
    sql, name = mark(ENDLESS)

    async def test(stack: Stack) -> None:
        at: Any
        async with stack.connect() as conn, stack.pool(1) as pool:
            at = pool if source == "pool" else conn
            pid = await stack.fetch_one(background(), at, "select pg_backend_pid()")
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(0.4) as ctx:
                    await getattr(stack, call)(ctx, at, sql)
            assert time.monotonic() - began < SOON
            assert caught.value.ctx is ctx
            assert isinstance(caught.value.__cause__, stack.canceled)
            assert not watch.runs(name)  # gone before the caller is back
            now = await stack.fetch_one(background(), at, "select pg_backend_pid(), 7")
            assert tuple(now) == (pid[0], 7)  # the same connection, in order

    on(test)


def test_a_statement_ends_when_somebody_cancels(on: Callable[[Test], None]) -> None:
    sql, name = mark(ENDLESS)
    why = KeyError("why")

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(Canceled) as caught:
                with background().with_cancel() as ctx:
                    with once_it_runs(stack.server, name, lambda: ctx.cancel(why)):
                        await stack.fetch_one(ctx, pool, sql)
            assert ctx.cause() is why
            last: BaseException = caught.value
            while last.__cause__ is not None:
                last = last.__cause__
            assert last is why
            await is_whole(stack, pool, 1)

    on(test)


def test_nothing_is_run_when_it_is_over(on: Callable[[Test], None], rows: str) -> None:
    async def test(stack: Stack) -> None:
        insert = f"insert into {rows} values (1)"
        async with stack.connect() as conn, stack.pool(1) as pool:
            for at in (conn, pool):
                ctx = background().with_cancel()
                ctx.cancel()
                with pytest.raises(Canceled):
                    await stack.execute(ctx, at, insert)
                with pytest.raises(Canceled):
                    async with stack.transaction(ctx, at):
                        pytest.fail("begun")
                with pytest.raises(Canceled):
                    async with stack.guard(ctx, conn):
                        pytest.fail("begun")
            assert await stack.fetch_all(background(), pool, f"table {rows}") == []

    on(test)


def test_whatever_runs_in_a_guard_ends(
    on: Callable[[Test], None], watch: Watch
) -> None:
    sql, name = mark(ENDLESS)

    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            pid = stack.pid(conn)
            for _ in range(3):
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(0.05) as ctx:
                        async with stack.guard(ctx, conn) as same:
                            assert same is conn
                            await stack.plain(conn, "select 1")
                            await stack.plain(conn, sql)
                assert not watch.runs(name)
            async with stack.guard(background(), conn):
                await stack.plain(conn, "select 1")
            assert stack.pid(conn) == pid
            assert (await stack.fetch_one(background(), conn, "select 7"))[0] == 7

    on(test)


def test_a_statement_begun_after_the_end_is_stopped_in_a_guard(
    on: Callable[[Test], None],
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            with pytest.raises(Canceled):
                with background().with_cancel() as ctx:
                    async with stack.guard(ctx, conn):
                        ctx.cancel()
                        await stack.plain(conn, ENDLESS)

    on(test)


# -- a server that stands still ------------------------------------------------------


def test_a_server_that_stands_still_holds_nobody(on: Callable[[Test], None]) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(2) as pool:
            row = await stack.fetch_one(background(), pool, "select pg_backend_pid()")
            async with standing_still(row[0]):
                began = time.monotonic()
                with background().with_timeout(LONG) as ctx:
                    both = [stuck(stack, ctx, pool), stuck(stack, ctx, pool)]
                    outcomes = await stack.together(*both)
                assert time.monotonic() - began < SOON
                assert sorted(map(str, outcomes)) == ["1", str(DeadlineExceeded())]
                # While it still stands still, and its connection is replaced.
                await is_whole(stack, pool, 2)

    on(test)


def stuck(stack: Stack, ctx: Context, pool: Any) -> Callable[[], Any]:
    async def call() -> int:
        with ctx.with_timeout(1.0) as budget:
            async with stack.transaction(budget, pool) as conn:
                row = await stack.fetch_one(budget, conn, "select 1")
                return int(row[0])

    return call


def test_a_guard_is_left_when_the_server_stands_still(
    on: Callable[[Test], None],
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            pid = stack.pid(conn)
            began = time.monotonic()
            async with standing_still(pid):
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(0.1) as ctx:
                        async with stack.guard(ctx, conn):
                            await stack.plain(conn, "select 1")
                assert time.monotonic() - began < SOON

    on(test)


# -- transactions --------------------------------------------------------------------


async def count_of(stack: Stack, pool: Any, rows: str) -> int:
    row = await stack.fetch_one(background(), pool, f"select count(*) from {rows}")
    return int(row[0])


@pytest.mark.parametrize("source", ["connection", "pool"])
def test_a_transaction_is_committed_or_rolled_back(
    on: Callable[[Test], None], rows: str, source: str
) -> None:
    async def test(stack: Stack) -> None:
        ctx = background()
        async with stack.connect() as conn, stack.pool(1) as pool:
            at = pool if source == "pool" else conn
            async with stack.transaction(ctx, at) as tx:
                await stack.execute(ctx, tx, f"insert into {rows} values (1)")
                await stack.plain(tx, f"insert into {rows} values (2)")
            assert await count_of(stack, pool, rows) == 2
            with pytest.raises(KeyError):
                async with stack.transaction(ctx, at) as tx:
                    await stack.execute(ctx, tx, f"insert into {rows} values (3)")
                    raise KeyError
            with pytest.raises(stack.error, match="division"):
                async with stack.transaction(ctx, at) as tx:
                    await stack.execute(ctx, tx, f"insert into {rows} values (4)")
                    await stack.execute(ctx, tx, "select 1 / 0")
            assert await count_of(stack, at, rows) == 2

    on(test)


def test_a_transaction_ends_with_its_deadline(
    on: Callable[[Test], None], rows: str, watch: Watch
) -> None:
    sql, name = mark(ENDLESS)

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            query = "select pg_backend_pid(), 7"
            before = await stack.fetch_one(background(), pool, query)
            for _ in range(3):
                with pytest.raises(DeadlineExceeded) as caught:
                    with background().with_timeout(0.1) as ctx:
                        async with stack.transaction(ctx, pool) as conn:
                            insert = f"insert into {rows} values (1)"
                            await stack.execute(ctx, conn, insert)
                            await stack.fetch_one(ctx, conn, sql)
                assert caught.value.ctx is ctx
                assert not watch.runs(name)
                assert watch.value(f"select count(*) from {rows}") == 0
                now = await stack.fetch_one(background(), pool, query)
                assert tuple(now) == tuple(before)

    on(test)


def test_a_context_that_ends_between_statements_rolls_back(
    on: Callable[[Test], None], rows: str
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(Canceled):
                with background().with_cancel() as ctx:
                    async with stack.transaction(ctx, pool) as conn:
                        await stack.plain(conn, f"insert into {rows} values (1)")
                        ctx.cancel()
            assert await count_of(stack, pool, rows) == 0
            await is_whole(stack, pool, 1)

    on(test)


def test_a_shorter_budget_for_one_statement_spoils_the_transaction(
    on: Callable[[Test], None], rows: str
) -> None:
    """The block goes on, and could only commit nothing: so it raises."""

    async def test(stack: Stack) -> None:
        ctx = background()
        async with stack.pool(1) as pool:
            with pytest.raises(stack.aborted):
                async with stack.transaction(ctx, pool) as conn:
                    await stack.plain(conn, f"insert into {rows} values (1)")
                    with pytest.raises(DeadlineExceeded):
                        with ctx.with_timeout(0.4) as budget:
                            await stack.fetch_one(budget, conn, ENDLESS)
            assert await count_of(stack, pool, rows) == 0

    on(test)


def test_a_transaction_inside_is_a_savepoint(
    on: Callable[[Test], None], rows: str
) -> None:
    async def test(stack: Stack) -> None:
        ctx = background()
        async with stack.pool(1) as pool:
            async with stack.transaction(ctx, pool) as conn:
                await stack.plain(conn, f"insert into {rows} values (1)")
                with pytest.raises(DeadlineExceeded):
                    with ctx.with_timeout(0.05) as budget:
                        async with stack.transaction(budget, conn) as same:
                            assert same is conn
                            await stack.plain(conn, f"insert into {rows} values (2)")
                            await stack.fetch_one(budget, conn, ENDLESS)
                async with stack.transaction(ctx, conn):
                    await stack.plain(conn, f"insert into {rows} values (3)")
            found = await stack.fetch_all(ctx, pool, f"select i from {rows} order by i")
            assert [row[0] for row in found] == [1, 3]

    on(test)


def slow_commit(watch: Watch, rows: str, sql: str) -> None:
    """Have each commit of an insert run a statement first."""
    watch.run(
        f"create function {rows}_slow() returns trigger language plpgsql as "
        f"$$ begin perform {sql.removeprefix('select ')}; return null; end $$; "
        f"create constraint trigger slow after insert on {rows} deferrable "
        f"initially deferred for each row execute function {rows}_slow()"
    )


def test_a_commit_that_is_canceled_has_rolled_back(
    on: Callable[[Test], None], rows: str, watch: Watch
) -> None:
    slow_commit(watch, rows, ENDLESS)

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.1) as ctx:
                    async with stack.transaction(ctx, pool) as conn:
                        await stack.plain(conn, f"insert into {rows} values (1)")
            assert await count_of(stack, pool, rows) == 0
            await is_whole(stack, pool, 1)

    on(test)


def test_a_commit_that_nobody_answered_is_unknown(
    on: Callable[[Test], None], rows: str
) -> None:
    async def test(stack: Stack) -> None:
        with Line(stack.server, b"COMMIT") as line:
            async with stack.connect(line.url) as conn:
                began = time.monotonic()
                with pytest.raises(CommitUnknown, match="look before") as caught:
                    with background().with_timeout(1.0) as ctx:
                        async with stack.transaction(ctx, conn):
                            await stack.plain(conn, f"insert into {rows} values (1)")
                assert time.monotonic() - began < SOON
                assert line.dead.is_set()
                ended = caught.value.__cause__
                assert isinstance(ended, DeadlineExceeded)
                assert ended.ctx is ctx
                assert isinstance(ended.__cause__, stack.error)

    on(test)


def test_a_connection_that_is_lost_in_the_commit_is_unknown_too(
    on: Callable[[Test], None], rows: str, watch: Watch
) -> None:
    """Without an end of any context."""

    async def test(stack: Stack) -> None:
        with Line(stack.server, b"COMMIT") as line:

            def cut() -> None:
                assert line.dead.wait(LONG)
                line.cut()

            cutting = start(cut)
            async with stack.connect(line.url) as conn:
                with pytest.raises(CommitUnknown) as caught:
                    async with stack.transaction(background(), conn):
                        await stack.plain(conn, f"insert into {rows} values (1)")
            cutting.result(LONG)
            assert isinstance(caught.value.__cause__, (stack.error, OSError))

    on(test)


def test_a_connection_that_is_lost_before_the_commit_is_no_success(
    on: Callable[[Test], None], rows: str, watch: Watch
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(Exception) as caught:
                async with stack.transaction(background(), pool) as conn:
                    await stack.plain(conn, f"insert into {rows} values (1)")
                    pid = stack.pid(conn)
                    watch.value(f"select pg_terminate_backend({pid}, {LONG * 1000})")
                    with pytest.raises(stack.error):
                        await stack.plain(conn, "select 1")
            assert not isinstance(caught.value, ContextError | CommitUnknown)
            assert watch.value(f"select count(*) from {rows}") == 0
            await is_whole(stack, pool, 1)

    on(test)


def test_the_belt_is_worn_for_one_transaction(on: Callable[[Test], None]) -> None:
    show = "select setting::int from pg_settings where name = 'statement_timeout'"

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with background().with_timeout(LONG) as ctx:
                async with stack.transaction(ctx, pool, belt=5.0) as conn:
                    limit = (await stack.fetch_one(ctx, conn, show))[0]
                    assert 5000 < limit <= (LONG + 5) * 1000
                async with stack.transaction(ctx, pool) as conn:
                    assert (await stack.fetch_one(ctx, conn, show))[0] == 0
            async with stack.transaction(background(), pool, belt=5.0) as conn:
                assert (await stack.fetch_one(background(), conn, show))[0] == 0

    on(test)


def test_the_belt_works_alone(on: Callable[[Test], None]) -> None:
    """Statements that nobody of us stops: those of a session that lost its client."""

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(5.0) as ctx:
                    # A negative belt is there before us.
                    async with stack.transaction(ctx, pool, belt=-4.9) as conn:
                        try:
                            await stack.fetch_one(background(), conn, ENDLESS)
                        except stack.canceled:
                            assert not ctx.done()
                            raise DeadlineExceeded from None

    on(test)


@pytest.mark.parametrize(
    "belt", [-LONG, -2 * LONG], ids=["none left", "less than none"]
)
def test_a_belt_with_no_time_left_is_not_none(
    on: Callable[[Test], None], belt: float
) -> None:
    """Nothing but the server ends the statement: 0 would let it run for ever."""

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with pytest.raises(KeyError), background().with_timeout(LONG) as ctx:
                async with stack.transaction(ctx, pool, belt=belt) as conn:
                    with pytest.raises(stack.canceled):
                        await stack.fetch_one(background(), conn, ENDLESS)
                    assert not ctx.done()
                    raise KeyError

    on(test)


@pytest.mark.parametrize("plain", [True, False])
def test_the_roll_back_holds_in_a_canceled_scope_of_anyios(
    on: Callable[[Test], None], rows: str, watch: Watch, plain: bool
) -> None:
    sql, name = mark(ENDLESS)

    async def test(stack: Stack) -> None:
        if not stack.in_tasks:
            return  # there are no such scopes in threads
        async with stack.pool(1) as pool:
            with anyio.CancelScope() as scope:
                loop = asyncio.get_running_loop()

                def cancel() -> None:
                    loop.call_soon_threadsafe(scope.cancel)

                async with stack.transaction(background(), pool) as conn:
                    pid = stack.pid(conn)
                    await stack.plain(conn, f"insert into {rows} values (1)")
                    with once_it_runs(stack.server, name, cancel):
                        if plain:
                            await stack.plain(conn, sql)
                        else:
                            await stack.execute(background(), conn, sql)
            if not plain:
                query = "select pg_backend_pid()"
                assert (await stack.fetch_one(background(), pool, query))[0] == pid
            assert scope.cancelled_caught
            await is_whole(stack, pool, 1)
            assert await count_of(stack, pool, rows) == 0
            watch.until(name, runs=False)

    on(test)


# -- the late cancel -----------------------------------------------------------------


def test_a_late_cancel_kills_no_innocent_statement(on: Callable[[Test], None]) -> None:
    """Statements that end just as they are canceled, and what comes after each."""

    async def test(stack: Stack) -> None:
        stopped = 0
        spread = random.Random(7)
        budget = 0.0015
        async with stack.connect() as conn:
            for _ in range(150):
                try:
                    with background().with_timeout(budget) as ctx:
                        seconds = spread.random() * 0.002
                        await stack.execute(ctx, conn, f"select pg_sleep({seconds})")
                    budget *= 0.9  # so that about half of them are stopped
                except DeadlineExceeded:
                    budget *= 1.1
                    stopped += 1
                await stack.execute(background(), conn, "select pg_sleep(0.001)")
        assert stopped

    on(test)


def test_nothing_holds_a_context_that_is_over(on: Callable[[Test], None]) -> None:
    """No cycle: a request would stay in memory until the collector comes."""

    async def once(stack: Stack, source: Any) -> weakref.ref[Context]:
        ctx = background().with_timeout(0.02)
        try:
            await stack.fetch_one(ctx, source, ENDLESS)
        except DeadlineExceeded:
            pass
        return weakref.ref(ctx)

    async def within(stack: Stack, source: Any) -> weakref.ref[Context]:
        scope = background().with_timeout(0.02)
        try:
            with scope as ctx:
                async with stack.transaction(ctx, source) as conn:
                    await stack.fetch_one(ctx, conn, ENDLESS)
        except DeadlineExceeded:
            pass
        return weakref.ref(scope)

    async def well(stack: Stack, source: Any) -> weakref.ref[Context]:
        scope = background().with_timeout(LONG)
        with scope as ctx:
            async with stack.transaction(ctx, source) as conn:
                await stack.fetch_one(ctx, conn, "select 1")
            await stack.fetch_one(ctx, source, "select 1")
        return weakref.ref(scope)

    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool, stack.connect() as conn:
            for call in (well, once, within) if stack.lets_go else (well,):
                for source in (pool, conn):
                    gc.collect()
                    gc.disable()
                    try:
                        gone = await call(stack, source)
                        until = time.monotonic() + LONG
                        while gone() is not None and time.monotonic() < until:
                            if stack.in_tasks:
                                await asyncio.sleep(0.001)
                            else:
                                time.sleep(0.001)  # a thread of ours lets go of it
                        assert gone() is None, (call, source)
                    finally:
                        gc.enable()

    on(test)


# -- pools ---------------------------------------------------------------------------


def test_a_wait_for_a_connection_counts_and_notices(on: Callable[[Test], None]) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            async with stack.transaction(background(), pool):
                began = time.monotonic()
                with pytest.raises(DeadlineExceeded) as caught:
                    with background().with_timeout(0.05) as ctx:
                        await stack.fetch_one(ctx, pool, "select 1")
                assert caught.value.ctx is ctx
                with pytest.raises(Canceled):
                    with background().with_cancel() as ctx:
                        canceling = threading.Timer(0.05, ctx.cancel)
                        canceling.start()
                        async with stack.transaction(ctx, pool):
                            pytest.fail("there is none")
                canceling.join()
                assert time.monotonic() - began < SOON
            await is_whole(stack, pool, 1)

    on(test)


def test_nobody_waits_past_the_budget(on: Callable[[Test], None]) -> None:
    """A pool of two under fifty callers, half of whom give up."""
    budget = 0.4

    async def test(stack: Stack) -> None:
        async with stack.pool(2) as pool:

            def caller(number: int) -> Callable[[], Coroutine[Any, Any, float]]:
                hurried = number % 2 == 1

                async def call() -> float:
                    began = time.monotonic()
                    with background().with_timeout(budget if hurried else LONG) as ctx:
                        await stack.fetch_one(ctx, pool, "select pg_sleep(0.04)")
                    return time.monotonic() - began

                return call

            began = time.monotonic()
            outcomes = await stack.together(*(caller(n) for n in range(50)))
            assert time.monotonic() - began < LONG
            patient, hurried = outcomes[::2], outcomes[1::2]
            assert all(isinstance(one, float) for one in patient), patient
            gave_up = [one for one in hurried if isinstance(one, DeadlineExceeded)]
            assert gave_up
            assert all(isinstance(one, float | DeadlineExceeded) for one in hurried), (
                hurried
            )
            await is_whole(stack, pool, 2)

    on(test)


# -- anywhere ------------------------------------------------------------------------


async def transfer(stack: Stack, ctx: Context, pool: Any, rows: str, i: int) -> None:
    async with stack.transaction(ctx, pool) as conn:
        await stack.execute(ctx, conn, f"insert into {rows} values ({i})")
        await stack.plain(conn, "select pg_sleep(0.001)")
        async with stack.transaction(ctx, conn):
            await stack.execute(ctx, conn, f"insert into {rows} values ({-i})")


@pytest.mark.stress
@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_an_end_at_any_moment_leaves_all_or_nothing(
    on: Callable[[Test], None], rows: str, end: str
) -> None:
    async def test(stack: Stack) -> None:
        spread = random.Random(7)
        done: set[int] = set()
        async with stack.pool(2) as pool:
            await transfer(stack, background(), pool, rows, 1)
            began = time.monotonic()
            await transfer(stack, background(), pool, rows, 2)
            took = time.monotonic() - began
            done |= {1, 2}
            for i in range(3, 100):
                # Some surely in time, some surely not, on whatever machine.
                after = {0: 0.0, 1: LONG}.get(i % 10, spread.random() * took * 1.2)
                timer = threading.Timer(after, lambda: None)
                try:
                    if end == "deadline":
                        scope = background().with_timeout(after)
                    else:
                        scope = background().with_cancel()
                        timer = threading.Timer(after, scope.cancel)
                        timer.start()
                    with scope as ctx:
                        await transfer(stack, ctx, pool, rows, i)
                    done.add(i)
                except ContextError:
                    pass
                finally:
                    timer.cancel()
            found = await stack.fetch_all(background(), pool, f"table {rows}")
            there = sorted(row[0] for row in found)
            assert there == sorted([*done, *(-i for i in done)])
            assert 2 < len(done) < 99
            await is_whole(stack, pool, 2)

    on(test)


@pytest.mark.stress
def test_a_task_canceled_by_others_at_any_moment_leaves_the_pool_whole(
    on: Callable[[Test], None], rows: str
) -> None:
    async def test(stack: Stack) -> None:
        if not stack.in_tasks:
            return  # nobody cancels a thread
        spread = random.Random(7)
        loop = asyncio.get_running_loop()
        async with stack.pool(2) as pool:
            began = time.monotonic()
            await transfer(stack, background(), pool, rows, 1)
            took = time.monotonic() - began
            for i in range(2, 60):
                with background().with_timeout(LONG) as ctx:
                    work = transfer(stack, ctx, pool, rows, i)
                    task = asyncio.ensure_future(work)
                    for _ in range(spread.choice((1, 1, 3))):
                        loop.call_later(spread.random() * took * 1.2, task.cancel)
                    await asyncio.wait((task,))
            await is_whole(stack, pool, 2)
            found = await stack.fetch_all(background(), pool, f"table {rows}")
            there = sorted(row[0] for row in found)
            assert there == sorted(-i for i in there)  # both or none

    on(test)
