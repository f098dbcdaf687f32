"""What is asyncpg's own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import asyncpg
import pytest

from tests.core.support import LONG
from tests.ext.postgres import Server
from tests.ext.watching import Watch, mark, once_it_runs
from tests.loops import Run
from tether import DeadlineExceeded, background
from tether.ext.asyncpg import (
    execute,
    fetch_all,
    fetch_one,
    guard,
    transaction,
)

ENDLESS = "select pg_sleep(600)"
SOON = 15.0


def test_arguments_and_rows_are_asyncpgs(run: Run, postgres: Server) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=1, max_size=1) as pool:
            ctx = background()
            row = await fetch_one(ctx, pool, "select $1::int + 1 as n", 41)
            assert row is not None
            assert row["n"] == row[0] == 42
            found = await fetch_all(ctx, pool, "select * from unnest($1::int[])", [1])
            assert [tuple(row) for row in found] == [(1,)]
            assert await execute(ctx, pool, "select 1") == "SELECT 1"
            async with transaction(ctx, pool) as conn:
                assert await conn.fetchval("select 7") == 7

    run(main)


def test_a_cursor_works_in_a_transaction(run: Run, postgres: Server) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=1, max_size=1) as pool:
            conn: Any
            async with transaction(background(), pool) as conn:
                rows = [row[0] async for row in conn.cursor("values (1), (2)")]
            assert rows == [1, 2]

    run(main)


def test_other_things_are_refused(run: Run, postgres: Server) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=1, max_size=1) as pool:
            with pytest.raises(TypeError, match=r"there is transaction\(\)"):
                guard(background(), pool)
            nothing: Any
            for nothing in (None, 2.0):
                with pytest.raises(TypeError, match="takes a context"):
                    await fetch_one(nothing, pool, "select 1")
                with pytest.raises(TypeError, match="takes a context"):
                    transaction(nothing, pool)
                with pytest.raises(TypeError, match="takes a context"):
                    guard(nothing, nothing)
                with pytest.raises(TypeError, match="a connection of asyncpg or a"):
                    await fetch_one(background(), nothing, "select 1")
                with pytest.raises(TypeError, match="a connection of asyncpg or a"):
                    transaction(background(), nothing)
                with pytest.raises(TypeError, match="a connection of asyncpg or a"):
                    guard(background(), nothing)

    run(main)


def test_a_closed_connection_says_so(run: Run, postgres: Server) -> None:
    async def main() -> None:
        conn = await asyncpg.connect(postgres.url)
        await conn.close()
        with pytest.raises(asyncpg.InterfaceError, match="closed"):
            await fetch_one(background(), conn, "select 1")
        with pytest.raises(asyncpg.InterfaceError, match="closed"):
            async with transaction(background(), conn):
                pytest.fail("it is closed")

    run(main)


@pytest.mark.parametrize("times", [1, 5])
def test_a_canceled_task_keeps_its_connection(
    run: Run, postgres: Server, times: int
) -> None:
    sql, name = mark(ENDLESS)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn = await asyncpg.connect(postgres.url)
        try:
            task = asyncio.ensure_future(fetch_one(background(), conn, sql))

            def cancel() -> None:
                for _ in range(times):
                    loop.call_soon_threadsafe(task.cancel)

            def watch() -> None:
                with once_it_runs(postgres, name, cancel):
                    pass

            await asyncio.to_thread(watch)
            with pytest.raises(asyncio.CancelledError):
                await task
            row = await fetch_one(background(), conn, "select 7")
            assert row is not None
            assert row[0] == 7
            with Watch(postgres) as watching:
                assert not watching.runs(name)
        finally:
            await conn.close()

    run(main)


def test_a_request_that_comes_too_early_is_repeated(run: Run, postgres: Server) -> None:
    """asyncpg itself asks once, and the server forgets what finds it idle."""

    async def main() -> None:
        conn = await asyncpg.connect(postgres.url)
        requests: list[object] = []
        real = type(conn)._cancel_current_command

        def first_is_lost(self: Any, told: Any, *rest: Any) -> None:
            requests.append(told)
            if len(requests) > 1:
                real(self, told, *rest)
            else:
                told.set_result(None)

        patch = pytest.MonkeyPatch()
        patch.setattr(type(conn), "_cancel_current_command", first_is_lost)
        try:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.4) as ctx:
                    async with guard(ctx, conn):
                        await conn.execute(ENDLESS)
            assert len(requests) > 1
            requests.clear()
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.4) as ctx:
                    await execute(ctx, conn, ENDLESS)
            assert len(requests) > 1
            assert time.monotonic() - began < SOON
            assert not conn.is_closed()
        finally:
            patch.undo()
            await conn.close()

    run(main)


def test_a_roll_back_that_nobody_answers_ends_the_connection(
    run: Run, postgres: Server
) -> None:
    async def main() -> None:
        conn = await asyncpg.connect(postgres.url)
        pid = conn.get_server_pid()
        began = time.monotonic()
        try:
            with pytest.raises(KeyError):
                async with transaction(background(), conn):
                    os.kill(pid, signal.SIGSTOP)
                    raise KeyError
        finally:
            os.kill(pid, signal.SIGCONT)
        assert time.monotonic() - began < SOON
        assert conn.is_closed()

    run(main)


def test_a_commit_that_the_server_refuses_is_no_mystery(
    run: Run, postgres: Server
) -> None:
    """A constraint that is looked at in the end."""

    async def main() -> None:
        conn = await asyncpg.connect(postgres.url)
        try:
            await conn.execute(
                "create temp table t (i int unique deferrable initially deferred)"
            )
            with pytest.raises(asyncpg.UniqueViolationError):
                async with transaction(background(), conn):
                    await conn.execute("insert into t values (1), (1)")
            with background().with_timeout(LONG) as ctx:
                row = await fetch_one(ctx, conn, "select count(*) from t")
            assert row is not None
            assert row[0] == 0
        finally:
            await conn.close()

    run(main)
