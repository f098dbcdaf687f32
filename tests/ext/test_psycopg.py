"""What is psycopg's own: its pools, its two kinds of connections, its transactions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.rows import dict_row

from tests.core.support import LONG, start
from tests.ext.postgres import Server
from tests.ext.watching import Watch, mark, once_it_runs
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background
from tether.ext.psycopg import (
    execute,
    execute_async,
    fetch_all,
    fetch_one,
    fetch_one_async,
    guard,
    transaction,
)

ENDLESS = "select pg_sleep(600)"
SOON = 15.0


@pytest.fixture
def conn(postgres: Server) -> Iterator[psycopg.Connection]:
    with contextlib.closing(psycopg.connect(postgres.url)) as conn:
        yield conn


@pytest.fixture
def pool(postgres: Server) -> Iterator[psycopg_pool.ConnectionPool]:
    with psycopg_pool.ConnectionPool(
        postgres.url, min_size=1, max_size=1, open=False
    ) as pool:
        pool.wait(LONG)
        yield pool


# -- what is given -------------------------------------------------------------------


def test_a_row_is_what_the_connection_makes_it(postgres: Server) -> None:
    with contextlib.closing(
        psycopg.connect(postgres.url, row_factory=dict_row)
    ) as conn:
        row = fetch_one(background(), conn, "select %s::int as n", (7,))
        assert row == {"n": 7}
        row = fetch_one(background(), conn, "select %(x)s::int as n", {"x": 8})
        assert row == {"n": 8}
        composed = psycopg.sql.SQL("select 9 as {}").format(psycopg.sql.Identifier("n"))
        assert fetch_all(background(), conn, composed) == [{"n": 9}]


def test_the_cursor_of_a_pool_can_still_be_read(
    pool: psycopg_pool.ConnectionPool,
) -> None:
    cursor = execute(background(), pool, "select generate_series(1, 3)")
    assert cursor.rowcount == 3
    assert cursor.fetchall() == [(1,), (2,), (3,)]


def test_a_given_connection_keeps_its_transaction(conn: psycopg.Connection) -> None:
    execute(background(), conn, "create temp table t (i int)")
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.4) as ctx:
            execute(ctx, conn, ENDLESS)
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    conn.rollback()
    assert fetch_one(background(), conn, "select 7") == (7,)


def test_what_cannot_run_in_a_transaction_runs_on_an_autocommit_pool(
    postgres: Server,
) -> None:
    with psycopg_pool.ConnectionPool(
        postgres.url, min_size=1, max_size=1, kwargs={"autocommit": True}, open=False
    ) as pool:
        execute(background(), pool, "vacuum pg_class")

    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(
            postgres.url,
            min_size=1,
            max_size=1,
            kwargs={"autocommit": True},
            open=False,
        ) as pool:
            await execute_async(background(), pool, "vacuum pg_class")

    Run("asyncio")(main)


@pytest.mark.parametrize("source", [None, "postgres://", object()])
def test_other_things_are_refused(source: Any) -> None:
    for call in (
        lambda: execute(background(), source, "select 1"),
        lambda: transaction(background(), source),
        lambda: guard(background(), source),
    ):
        with pytest.raises(TypeError, match="a connection of psycopg 3 or a pool"):
            call()


@pytest.mark.parametrize("ctx", [None, 2.0])
def test_no_context_is_refused(conn: psycopg.Connection, ctx: Any) -> None:
    for call in (
        lambda: execute(ctx, conn, "select 1"),
        lambda: fetch_one(ctx, conn, "select 1"),
        lambda: transaction(ctx, conn),
        lambda: guard(ctx, conn),
    ):
        with pytest.raises(TypeError, match="takes a context"):
            call()


def test_a_pool_in_the_place_of_a_connection_is_refused(
    pool: psycopg_pool.ConnectionPool,
) -> None:
    with pytest.raises(TypeError, match=r"there is transaction\(\)"):
        guard(background(), pool)  # type: ignore[call-overload]


def test_each_kind_names_the_function_of_the_other(
    conn: psycopg.Connection, postgres: Server
) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"fetch_one\(\) in a thread"):
            await fetch_one_async(background(), conn, "select 1")  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match=r"await fetch_one_async"):
            fetch_one(background(), conn, "select 1")
        with pytest.raises(RuntimeError, match="async with"):
            with transaction(background(), conn):
                pytest.fail("it would block the loop")
        with pytest.raises(RuntimeError, match="async with"):
            with guard(background(), conn):
                pytest.fail("it would block the loop")
        other = await psycopg.AsyncConnection.connect(postgres.url)
        try:
            with pytest.raises(TypeError, match=r"await fetch_one_async"):
                fetch_one(background(), other, "select 1")  # type: ignore[arg-type]
        finally:
            await other.close()

    Run("asyncio")(main)


def test_a_closed_connection_says_so(conn: psycopg.Connection) -> None:
    conn.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        fetch_one(background(), conn, "select 1")
    with pytest.raises(psycopg.OperationalError, match="closed"):
        with transaction(background(), conn):
            pytest.fail("it is closed")


def test_a_missing_library_is_named_with_the_cure() -> None:
    for module, library in (("psycopg", "psycopg"), ("asyncpg", "asyncpg")):
        code = (
            f"import sys; sys.modules[{library!r}] = None\n"
            f"try: import tether.ext.{module}\n"
            "except ModuleNotFoundError as exc: print(exc)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert f'pip install "tether[{library}]"' in done.stdout


# -- transactions --------------------------------------------------------------------


def test_psycopgs_own_rollback_is_swallowed(
    conn: psycopg.Connection, postgres: Server
) -> None:
    conn.execute("create temp table t (i int)")
    conn.commit()
    with transaction(background(), conn):
        conn.execute("insert into t values (1)")
        raise psycopg.Rollback
    assert fetch_one(background(), conn, "select count(*) from t") == (0,)

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.url) as other:
            async with transaction(background(), other):
                raise psycopg.Rollback
            assert await fetch_one_async(background(), other, "select 7") == (7,)

    Run("asyncio")(main)


def test_a_roll_back_that_nobody_answers_ends_the_connection(
    postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    conn = psycopg.connect(postgres.url)
    pid = conn.info.backend_pid
    began = time.monotonic()
    try:
        with pytest.raises(KeyError):
            with transaction(background(), conn):
                os.kill(pid, signal.SIGSTOP)
                raise KeyError
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began < SOON
    assert conn.closed


def test_a_keyboard_interrupt_rolls_back(pool: psycopg_pool.ConnectionPool) -> None:
    with pytest.raises(KeyboardInterrupt):
        with transaction(background(), pool) as conn:
            conn.execute("create table never (i int)")
            raise KeyboardInterrupt
    row = fetch_one(background(), pool, "select to_regclass('never')")
    assert row == (None,)


# -- a pool that has none ready ------------------------------------------------------


def whole(pool: psycopg_pool.ConnectionPool) -> None:
    with background().with_timeout(LONG) as ctx:
        assert fetch_one(ctx, pool, "select 7") == (7,)
    until = time.monotonic() + LONG
    while pool.get_stats()["pool_available"] < pool.max_size:
        assert time.monotonic() < until, pool.get_stats()
        time.sleep(0.001)


def used_past_us(pool: psycopg_pool.ConnectionPool) -> contextlib.ExitStack:
    """All connections of a pool are with code that knows nothing of tether."""
    stack = contextlib.ExitStack()
    for _ in range(pool.max_size):
        stack.enter_context(pool.connection())
    return stack


def test_a_wait_behind_other_code_ends_with_its_context(
    pool: psycopg_pool.ConnectionPool,
) -> None:
    with used_past_us(pool):
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.05) as ctx:
                fetch_one(ctx, pool, "select 1")
        with background().with_cancel() as ctx:
            call = start(fetch_one, ctx, pool, "select 1")
            until = time.monotonic() + LONG
            while not pool.get_stats()["requests_waiting"]:
                assert time.monotonic() < until
                time.sleep(0.001)
            ctx.cancel()
            with pytest.raises(Canceled):
                call.result(LONG)
        assert time.monotonic() - began < SOON
    whole(pool)


def test_a_wait_behind_other_code_is_answered(
    pool: psycopg_pool.ConnectionPool,
) -> None:
    calls: list[Future[tuple[Any, ...] | None]] = []
    with background().with_timeout(LONG) as ctx:
        with used_past_us(pool):
            calls += [start(fetch_one, ctx, pool, "select 7") for _ in range(5)]
            time.sleep(0.05)  # all of them wait, most likely
        assert [call.result(LONG) for call in calls] == [(7,)] * 5
    whole(pool)


def test_the_pools_own_timeout_is_the_upper_limit(postgres: Server) -> None:
    with psycopg_pool.ConnectionPool(
        postgres.url, min_size=1, max_size=1, timeout=0.05, open=False
    ) as pool:
        pool.wait(LONG)
        with used_past_us(pool):
            with pytest.raises(psycopg_pool.PoolTimeout):
                fetch_one(background(), pool, "select 1")
        with transaction(background(), pool):
            call = start(fetch_one, background(), pool, "select 1")
            with pytest.raises(psycopg_pool.PoolTimeout):
                call.result(LONG)
        whole(pool)

    async def main() -> None:
        async with psycopg_pool.AsyncConnectionPool(
            postgres.url, min_size=1, max_size=1, timeout=0.05, open=False
        ) as pool:
            async with pool.connection():
                with pytest.raises(psycopg_pool.PoolTimeout):
                    await fetch_one_async(background(), pool, "select 1")

    Run("asyncio")(main)


def test_a_closed_pool_says_so(pool: psycopg_pool.ConnectionPool) -> None:
    pool.close()
    with pytest.raises(psycopg_pool.PoolClosed):
        fetch_one(background(), pool, "select 1")


def test_a_pool_that_cannot_connect_holds_nobody() -> None:
    with psycopg_pool.ConnectionPool(
        "postgresql://nobody@127.0.0.1:1/nothing",
        min_size=1,
        max_size=1,
        open=False,
        reconnect_timeout=1.0,
    ) as pool:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.1) as ctx:
                fetch_one(ctx, pool, "select 1")


def test_a_check_that_stands_still_holds_nobody(postgres: Server) -> None:
    """A pool that asks the server before it lends a connection."""
    with psycopg_pool.ConnectionPool(
        postgres.url,
        min_size=1,
        max_size=1,
        check=psycopg_pool.ConnectionPool.check_connection,
        open=False,
    ) as pool:
        row = fetch_one(background(), pool, "select pg_backend_pid()")
        assert row is not None
        os.kill(row[0], signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.1) as ctx:
                    fetch_one(ctx, pool, "select 1")
        finally:
            os.kill(row[0], signal.SIGCONT)
        whole(pool)


def test_a_pool_may_be_resized(pool: psycopg_pool.ConnectionPool) -> None:
    with transaction(background(), pool):
        pool.resize(2, 2)
        with background().with_timeout(LONG) as ctx:
            other = start(fetch_one, ctx, pool, "select 7")
            assert other.result(LONG) == (7,)
    whole(pool)


def test_a_pool_that_keeps_none_works_as_well(postgres: Server) -> None:
    with psycopg_pool.NullConnectionPool(postgres.url, open=False) as pool:
        assert fetch_one(background(), pool, "select 7") == (7,)
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.2) as ctx:
                fetch_one(ctx, pool, ENDLESS)


# -- in tasks ------------------------------------------------------------------------


def test_a_guard_ends_whatever_else_waits_in_it(run: Run, postgres: Server) -> None:
    async def main() -> None:
        conn = await psycopg.AsyncConnection.connect(postgres.url)
        try:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05) as ctx:
                    async with guard(ctx, conn):
                        await asyncio.sleep(LONG)
            assert not conn.closed
            assert await fetch_one_async(background(), conn, "select 7") == (7,)
        finally:
            await conn.close()

    run(main)


@pytest.mark.parametrize("times", [1, 5])
def test_a_canceled_task_keeps_its_connection(
    run: Run, postgres: Server, times: int
) -> None:
    sql, name = mark(ENDLESS)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn = await psycopg.AsyncConnection.connect(postgres.url, autocommit=True)
        try:
            work = fetch_one_async(background(), conn, sql)
            task = asyncio.ensure_future(work)

            def cancel() -> None:
                for _ in range(times):
                    loop.call_soon_threadsafe(task.cancel)

            def watch() -> None:
                with once_it_runs(postgres, name, cancel):
                    pass

            await asyncio.to_thread(watch)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await fetch_one_async(background(), conn, "select 7") == (7,)
            with Watch(postgres) as watching:
                assert not watching.runs(name)
        finally:
            await conn.close()

    run(main)


def test_statements_of_one_connection_wait_for_each_other(
    run: Run, postgres: Server
) -> None:
    """The end of one's context ends that one, and the next runs."""

    async def main() -> None:
        conn = await psycopg.AsyncConnection.connect(postgres.url, autocommit=True)

        async def hurried() -> None:
            with background().with_timeout(0.1) as ctx:
                await fetch_one_async(ctx, conn, ENDLESS)

        try:
            first = asyncio.ensure_future(hurried())
            await asyncio.sleep(0.02)
            second = fetch_one_async(background(), conn, "select 7")
            assert await second == (7,)
            with pytest.raises(DeadlineExceeded):
                await first
        finally:
            await conn.close()

    run(main)


# -- the late cancel -----------------------------------------------------------------


@pytest.mark.stress
def test_without_care_a_late_cancel_kills_the_next_statement(
    conn: psycopg.Connection,
) -> None:
    """So that the test of it with care can fail: this is what happens otherwise."""
    conn.autocommit = True
    killed = 0
    until = time.monotonic() + LONG
    while killed == 0 and time.monotonic() < until:
        canceling = threading.Timer(0.0015, conn.cancel_safe)
        canceling.start()
        for sql in ("select pg_sleep(0.0012)", "select pg_sleep(0.0015)"):
            try:
                conn.execute(sql)
            except psycopg.errors.QueryCanceled:
                killed += "0.0015" in sql
        canceling.join()
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            conn.execute("select 1")
    assert killed
