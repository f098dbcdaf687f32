"""tether.ext.sqlite on real files, with threads and locks."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background
from tether.ext import sqlite
from tether.ext.sqlite import (
    execute,
    execute_async,
    fetch_all,
    fetch_all_async,
    fetch_one,
    fetch_one_async,
    guard,
)

NUMBERS = "with recursive r(i) as (select 1 union all select i + 1 from r where i < {})"
LONG = NUMBERS.format(3_000_000_000) + " select sum(i) from r"  # many minutes
SOON = 5.0  # far less than LONG takes


@pytest.fixture
def path(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "db")) as conn, conn:
        conn.execute("create table users (id integer primary key, name text)")
        conn.executemany("insert into users values (?, ?)", [(1, "ann"), (2, "bob")])
    return str(tmp_path / "db")


@pytest.fixture
def conn(path: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=30.0)) as conn:
        yield conn


@pytest.fixture
def locked(path: str) -> Iterator[sqlite3.Connection]:
    """Another connection, which holds the only lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield other


def busy_timeout(conn: sqlite3.Connection) -> int:
    row: tuple[int] = conn.execute("pragma busy_timeout").fetchone()
    return row[0]


class Later:
    """Cancels a scope a moment after the main thread has gone into a call."""

    def __init__(self, do: Callable[[], object], seconds: float = 0.05) -> None:
        self._timer = threading.Timer(seconds, do)

    def __enter__(self) -> None:
        self.began = time.monotonic()
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()
        assert time.monotonic() - self.began < SOON


# -- results -------------------------------------------------------------------------


def test_rows_come_as_the_connection_makes_them(conn: sqlite3.Connection) -> None:
    ctx = background()
    everyone = "select id, name from users order by id"
    assert fetch_all(ctx, conn, everyone) == [(1, "ann"), (2, "bob")]
    assert fetch_one(ctx, conn, everyone) == (1, "ann")
    assert fetch_one(ctx, conn, "select name from users where id = ?", (2,)) == ("bob",)
    assert fetch_one(ctx, conn, "select :x", {"x": 7}) == (7,)
    assert fetch_one(ctx, conn, "select 1 from users where id = 9") is None
    assert execute(ctx, conn, "update users set name = 'x'").rowcount == 2
    conn.row_factory = sqlite3.Row
    row = fetch_one(ctx, conn, everyone)
    assert row is not None
    assert row["name"] == "x"


def test_sqlites_own_errors_pass(conn: sqlite3.Connection) -> None:
    with background().with_timeout(60.0) as ctx:
        with pytest.raises(sqlite3.OperationalError, match="syntax"):
            execute(ctx, conn, "selec")
        with pytest.raises(sqlite3.IntegrityError):
            execute(ctx, conn, "insert into users values (1, 'twice')")
        conn.close()
        with pytest.raises(sqlite3.ProgrammingError):
            execute(ctx, conn, "select 1")


def test_an_interrupt_of_somebody_elses_is_not_ours(path: str) -> None:
    with closing(sqlite3.connect(path, check_same_thread=False)) as conn:
        with background().with_timeout(60.0) as ctx, Later(conn.interrupt):
            with pytest.raises(sqlite3.OperationalError, match="interrupted"):
                fetch_all(ctx, conn, LONG)


# -- a statement that computes -------------------------------------------------------


@pytest.mark.parametrize("call", [execute, fetch_all, fetch_one])
def test_a_query_ends_with_its_deadline(conn: sqlite3.Connection, call: Any) -> None:
    began = time.monotonic()
    with background().with_timeout(0.05) as ctx:
        with pytest.raises(DeadlineExceeded) as caught:
            call(ctx, conn, LONG)
    assert caught.value.ctx is ctx
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert time.monotonic() - began < SOON
    assert fetch_one(background(), conn, "select 1") == (1,)  # usable at once


def test_a_query_ends_when_another_thread_cancels(conn: sqlite3.Connection) -> None:
    why = KeyError("why")
    with background().with_cancel() as ctx:
        with Later(lambda: ctx.cancel(why)):
            with pytest.raises(Canceled) as caught:
                fetch_all(ctx, conn, LONG)
    interrupted = caught.value.__cause__
    assert isinstance(interrupted, sqlite3.OperationalError)
    assert interrupted.__cause__ is why


def test_nothing_is_run_when_it_is_over(conn: sqlite3.Connection) -> None:
    ctx = background().with_cancel()
    ctx.cancel()
    with pytest.raises(Canceled):
        execute(ctx, conn, "delete from users")
    assert not conn.in_transaction
    assert fetch_all(background(), conn, "select count(*) from users") == [(2,)]


def test_an_end_between_two_statements_is_not_lost(conn: sqlite3.Connection) -> None:
    """SQLite forgets an interrupt that comes while no statement runs."""
    with background().with_cancel() as ctx:
        with pytest.raises(Canceled), guard(ctx, conn):
            ctx.cancel()
            until = time.monotonic() + 0.02  # the first interrupt is over by then
            while time.monotonic() < until:
                time.sleep(0.001)
            conn.execute(LONG).fetchall()


@pytest.mark.stress
def test_an_interrupt_never_hits_the_next_statement(conn: sqlite3.Connection) -> None:
    short = NUMBERS.format(2000) + " select sum(i) from r"
    canceled = 0
    for n in range(400):
        ctx = background().with_timeout(n % 20 * 0.0001 + 0.0001)
        try:
            fetch_all(ctx, conn, short)
        except DeadlineExceeded:
            canceled += 1
        finally:
            ctx.cancel()
        assert conn.execute(short).fetchone() == (2001000,)
    assert canceled > 0


def test_a_busy_interpreter_does_not_slow_a_query_down(
    conn: sqlite3.Connection,
) -> None:
    """No part of ours needs the GIL while SQLite computes."""
    some = NUMBERS.format(200_000) + " select sum(i) from r"
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            pass

    other = threading.Thread(target=compute)
    other.start()
    try:
        began = time.monotonic()
        with background().with_timeout(60.0) as ctx:
            fetch_all(ctx, conn, some)
        assert time.monotonic() - began < SOON  # a progress handler: more than 10 s
    finally:
        stop.set()
        other.join()


def test_a_write_that_is_interrupted_rolls_the_transaction_back(
    conn: sqlite3.Connection,
) -> None:
    with background().with_timeout(0.05) as ctx:
        execute(ctx, conn, "insert into users values (3, 'cid')")
        with pytest.raises(DeadlineExceeded):
            execute(
                ctx, conn, f"insert into users {LONG.replace('sum(i)', 'i + 10, i')}"
            )
    assert not conn.in_transaction
    assert fetch_all(background(), conn, "select count(*) from users") == [(2,)]


# -- locks ---------------------------------------------------------------------------


def test_a_wait_for_a_lock_ends_with_the_deadline(
    conn: sqlite3.Connection, locked: sqlite3.Connection
) -> None:
    began = time.monotonic()
    with background().with_timeout(0.05) as ctx:
        with pytest.raises(DeadlineExceeded) as caught:
            fetch_all(ctx, conn, "select * from users")
    assert "locked" in str(caught.value.__cause__)
    assert time.monotonic() - began < SOON


def test_a_wait_for_a_lock_ends_with_a_cancel(
    conn: sqlite3.Connection, locked: sqlite3.Connection
) -> None:
    with background().with_cancel() as ctx, Later(ctx.cancel):
        with pytest.raises(Canceled):
            execute(ctx, conn, "insert into users values (3, 'cid')")


def test_a_lock_that_comes_free_is_taken(path: str, conn: sqlite3.Connection) -> None:
    held = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("begin exclusive")
            held.set()
            time.sleep(0.05)
            other.execute("commit")

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(SOON)
    with background().with_timeout(60.0) as ctx:
        execute(ctx, conn, "insert into users values (3, 'cid')")
        execute(ctx, conn, "commit")
    holder.join()
    assert not conn.in_transaction


@pytest.mark.parametrize("patience", [0.0, 0.05])
def test_the_connections_own_timeout_holds(
    path: str, locked: sqlite3.Connection, patience: float
) -> None:
    with closing(sqlite3.connect(path, timeout=patience)) as conn:
        began = time.monotonic()
        with background().with_timeout(60.0) as ctx:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                fetch_all(ctx, conn, "select * from users")
        assert patience <= time.monotonic() - began < SOON


def test_a_wait_that_cannot_help_is_not_waited(path: str) -> None:
    """Two transactions, each waiting for the other: SQLite says no at once."""
    with (
        closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as one,
        closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as two,
    ):
        one.execute("begin")
        one.execute("select * from users").fetchall()
        two.execute("begin immediate")
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            execute(background(), one, "insert into users values (3, 'cid')")
        assert time.monotonic() - began < SOON


# -- guard ---------------------------------------------------------------------------


def test_a_guarded_connection_ends_what_runs_on_it(conn: sqlite3.Connection) -> None:
    with background().with_timeout(0.05) as ctx:
        with pytest.raises(DeadlineExceeded), guard(ctx, conn) as same:
            assert same is conn
            conn.execute(LONG).fetchall()


def test_a_guarded_wait_for_a_lock_ends_with_the_deadline(
    conn: sqlite3.Connection, locked: sqlite3.Connection
) -> None:
    began = time.monotonic()
    with background().with_timeout(0.05) as ctx:
        with pytest.raises(DeadlineExceeded), guard(ctx, conn):
            conn.execute("select * from users").fetchall()
    assert time.monotonic() - began < SOON


def test_a_block_that_was_done_all_the_same_keeps_its_outcome(
    conn: sqlite3.Connection,
) -> None:
    with background().with_cancel() as ctx:
        with guard(ctx, conn):
            conn.execute("insert into users values (3, 'cid')")
            conn.commit()
            ctx.cancel()
        with pytest.raises(KeyError), guard(background(), conn):
            raise KeyError
    assert fetch_all(background(), conn, "select count(*) from users") == [(3,)]


def test_guards_nest_and_leave_the_connection_as_it_was(
    conn: sqlite3.Connection,
) -> None:
    with background().with_timeout(60.0) as outer, guard(outer, conn):
        with outer.with_timeout(0.05) as inner:
            with pytest.raises(DeadlineExceeded), guard(inner, conn):
                assert busy_timeout(conn) <= 50
                fetch_all(inner, conn, LONG)
        assert busy_timeout(conn) == 30_000
        assert fetch_one(outer, conn, "select 1") == (1,)
    assert busy_timeout(conn) == 30_000


def test_a_connection_may_be_closed_in_the_block(conn: sqlite3.Connection) -> None:
    with background().with_timeout(0.05) as ctx, guard(ctx, conn):
        conn.close()
        ctx.wait()


# -- aiosqlite -----------------------------------------------------------------------


def test_the_async_calls_answer_as_the_others(run: Run, path: str) -> None:
    async def main() -> None:
        ctx = background()
        async with aiosqlite.connect(path) as db:
            names = await fetch_all_async(ctx, db, "select name from users")
            assert names == [("ann",), ("bob",)]
            found = await fetch_one_async(
                ctx, db, "select id from users where name = ?", ("bob",)
            )
            assert found == (2,)
            assert await fetch_one_async(ctx, db, "select 1 where 0") is None
            cursor = await execute_async(ctx, db, "update users set name = 'x'")
            assert cursor.rowcount == 2

    run(main)


async def usable_at_once(db: aiosqlite.Connection) -> None:
    began = time.monotonic()
    assert await fetch_one_async(background(), db, "select 1") == (1,)
    assert time.monotonic() - began < SOON


def test_an_async_query_ends_with_its_deadline(run: Run, path: str) -> None:
    async def main() -> None:
        async with aiosqlite.connect(path) as db:
            with background().with_timeout(0.05) as outer:
                pass
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05) as entered:
                    await fetch_all_async(entered, db, LONG)
            await usable_at_once(db)
            given = background().with_timeout(0.05)  # no block of this task
            with pytest.raises(DeadlineExceeded):
                await fetch_all_async(given, db, LONG)
            await usable_at_once(db)
            assert outer.done()

    run(main)


def test_a_task_cancel_interrupts_the_query(run: Run, path: str) -> None:
    async def main() -> None:
        async with aiosqlite.connect(path) as db:
            task = asyncio.create_task(fetch_all_async(background(), db, LONG))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await usable_at_once(db)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await fetch_all_async(background(), db, LONG)
            await usable_at_once(db)

    run(main)


def test_a_query_that_still_waits_in_line_hits_nobody(run: Run, path: str) -> None:
    """One aiosqlite connection, two tasks: the end of one is not the other's."""

    async def main() -> None:
        some = NUMBERS.format(1_000_000) + " select sum(i) from r"
        async with aiosqlite.connect(path) as db:
            runs = asyncio.create_task(fetch_all_async(background(), db, some))
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.005) as ctx:
                    await fetch_all_async(ctx, db, LONG)
            assert await runs == [(500_000_500_000,)]

    run(main)


def test_the_end_of_a_block_outside_is_not_caught_inside(run: Run, path: str) -> None:
    async def main() -> None:
        async with aiosqlite.connect(path) as db:
            caught = []
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05) as outer:
                    try:
                        with outer.with_timeout(60.0) as inner:
                            await fetch_all_async(inner, db, LONG)
                    except DeadlineExceeded:
                        caught.append("inside")
            assert caught == []

    run(main)


def test_aiosqlite_is_asked_for_only_when_it_is_used(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiosqlite", None)

    async def main() -> None:
        with pytest.raises(
            ModuleNotFoundError, match=r'pip install "tether\[aiosqlite'
        ):
            await sqlite.fetch_all_async(background(), object(), "select 1")  # type: ignore[arg-type]

    run(main)
