"""tether.ext.sqlalchemy: what is SQLAlchemy's own.

What every driver of PostgreSQL has in common is in `test_postgresql`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, StaticPool, create_engine, event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from demo.databases.server import Server
from tests.core.support import LONG, start
from tests.ext.alchemy import url_of
from tests.ext.watching import Watch, mark, once_it_runs, table
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background
from tether.ext.sqlalchemy import attach, execute, execute_async, guard, transaction

ENDLESS = "select pg_sleep(600)"
NUMBERS = "with recursive r(i) as (select 1 union all select i + 1 from r where i < {})"
COUNTING = NUMBERS.format(3_000_000_000) + " select sum(i) from r"  # many minutes
SOON = 15.0  # far less than those, and more than a grace on a busy machine
PID = text("select pg_backend_pid()")
SEVEN = text("select 7")

_tables = count()


@pytest.fixture
def watch(postgres: Server) -> Iterator[Watch]:
    with Watch(postgres) as watch:
        yield watch


@pytest.fixture
def rows(postgres: Server) -> Iterator[str]:
    """A table with one column, i."""
    with table(postgres, f"alchemy_{next(_tables)}") as name:
        yield name


@contextmanager
def engine_of(server: Server, size: int = 1, **options: Any) -> Iterator[Engine]:
    engine = create_engine(
        url_of("psycopg", server.url),
        **{"pool_size": size, "max_overflow": 0, "pool_timeout": LONG, **options},
    )
    try:
        yield engine
    finally:
        engine.dispose()


@asynccontextmanager
async def async_engine_of(
    server: Server, driver: str, size: int = 1, **options: Any
) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(
        url_of(driver, server.url),
        **{"pool_size": size, "max_overflow": 0, "pool_timeout": LONG, **options},
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
def engine(postgres: Server) -> Iterator[Engine]:
    """An engine with one connection, that follows `current()`."""
    with engine_of(postgres) as engine:
        attach(engine)
        yield engine


drivers = pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])


def value(engine: Engine, sql: Any) -> Any:
    with engine.connect() as connection:
        return connection.scalar(sql)


async def value_async(engine: AsyncEngine, sql: Any) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(sql)


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "alchemy_rows"
    i: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def mapped(postgres: Server) -> Iterator[None]:
    with table(postgres, Row.__tablename__, "i int primary key"):
        yield


# -- code that exists ----------------------------------------------------------------


def test_code_that_exists_follows_the_current_context(
    engine: Engine, watch: Watch, rows: str
) -> None:
    pid = value(engine, PID)
    for _ in range(3):
        sql, name = mark(ENDLESS)
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.4) as ctx:
                with engine.begin() as connection:
                    connection.execute(text(f"insert into {rows} values (1)"))
                    connection.execute(text(sql))
        assert caught.value.ctx is ctx
        assert not watch.runs(name)
        assert watch.value(f"select count(*) from {rows}") == 0
        assert value(engine, PID) == pid
    with engine.begin() as connection:
        connection.execute(text(f"insert into {rows} values (1)"))
    assert watch.value(f"select count(*) from {rows}") == 1


@drivers
def test_code_that_exists_in_tasks_keeps_its_connection(
    run: Run, postgres: Server, watch: Watch, rows: str, driver: str
) -> None:
    async def main() -> None:
        async with async_engine_of(postgres, driver) as engine:
            attach(engine)
            attach(engine)
            pid = await value_async(engine, PID)
            for end in ("deadline", "cancel", "deadline"):
                sql, name = mark(ENDLESS)
                loop = asyncio.get_running_loop()
                with pytest.raises((DeadlineExceeded, Canceled)) as caught:
                    budget = 0.4 if end == "deadline" else LONG
                    with background().with_timeout(budget) as ctx:
                        if end == "cancel":
                            loop.call_later(0.4, ctx.cancel)
                        async with engine.begin() as connection:
                            insert = text(f"insert into {rows} values (1)")
                            await connection.execute(insert)
                            await connection.execute(text(sql))
                assert caught.value.ctx is ctx
                assert "canceling statement" in str(caught.value.__cause__)
                assert not watch.runs(name)
                assert watch.value(f"select count(*) from {rows}") == 0
                assert await value_async(engine, PID) == pid

    run(main)


@drivers
def test_a_task_that_somebody_else_cancels_keeps_its_connection_as_well(
    run: Run, postgres: Server, watch: Watch, driver: str
) -> None:
    """SQLAlchemy by itself throws it away."""

    async def main() -> None:
        async with async_engine_of(postgres, driver) as engine:
            attach(engine)
            pid = await value_async(engine, PID)
            sql, name = mark(ENDLESS)
            with background().with_timeout(LONG):
                assert await value_async(engine, SEVEN) == 7
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.4):
                        async with engine.connect() as connection:
                            await connection.execute(text(sql))
                assert not watch.runs(name)
                assert await value_async(engine, PID) == pid

    run(main)


def test_without_a_context_nothing_changes(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text("select 7 from pg_sleep(0.05)")) == 7
        with pytest.raises(DBAPIError, match="division"):
            connection.execute(text("select 1 / 0"))


def test_an_engine_that_was_disposed_of_goes_on_following(engine: Engine) -> None:
    value(engine, SEVEN)
    engine.dispose()
    with engine.connect():
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.05):
                engine.connect()
        assert time.monotonic() - began < SOON
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.05):
            value(engine, text(ENDLESS))


def test_a_savepoint_is_rolled_back_alone(engine: Engine, rows: str) -> None:
    with background().with_timeout(LONG) as ctx, engine.begin() as connection:
        connection.execute(text(f"insert into {rows} values (1)"))
        with pytest.raises(DeadlineExceeded):
            with ctx.with_timeout(0.3), connection.begin_nested():
                connection.execute(text(f"insert into {rows} values (2)"))
                connection.execute(text(ENDLESS))
        connection.execute(text(f"insert into {rows} values (3)"))
    assert value(engine, text(f"select sum(i) from {rows}")) == 4


# -- rows that are still to come -----------------------------------------------------

SLOW = "select i, pg_sleep(case when i = 2001 then 600 else 0 end)::text from {} order by i"


def test_rows_from_a_cursor_in_the_server_end_as_well(
    engine: Engine, rows: str, watch: Watch
) -> None:
    watch.run(f"insert into {rows} select generate_series(1, 5000)")
    pid = value(engine, PID)
    seen = 0
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(1.0), engine.connect() as connection:
            options = {"yield_per": 500}
            slow = text(SLOW.format(rows))
            for _ in connection.execute(slow, execution_options=options):
                seen += 1
    assert 0 < seen <= 2000
    assert value(engine, PID) == pid


@drivers
def test_rows_that_are_streamed_in_tasks_end_as_well(
    run: Run, postgres: Server, rows: str, watch: Watch, driver: str
) -> None:
    watch.run(f"insert into {rows} select generate_series(1, 5000)")

    async def main() -> int:
        seen = 0
        async with async_engine_of(postgres, driver) as engine:
            attach(engine)
            pid = await value_async(engine, PID)
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(1.0):
                    async with engine.connect() as connection:
                        slow = text(SLOW.format(rows))
                        options = {"yield_per": 500}
                        result = await connection.stream(
                            slow, execution_options=options
                        )
                        async for _ in result:
                            seen += 1
            assert await value_async(engine, PID) == pid
        return seen

    assert 0 < run(main) <= 2000


# -- sessions ------------------------------------------------------------------------


def test_sessions_are_committed_and_rolled_back(
    postgres: Server, mapped: None, watch: Watch
) -> None:
    rows = Row.__tablename__
    with engine_of(postgres) as engine:
        maker = sessionmaker(engine)
        with transaction(background(), maker) as session:
            session.add(Row(i=1))
        with Session(engine) as session:
            with transaction(background(), session) as same:
                assert same is session
                session.add(Row(i=2))
                with pytest.raises(KeyError):
                    with transaction(background(), session):  # a savepoint
                        session.add(Row(i=3))
                        session.flush()
                        raise KeyError
        assert watch.value(f"select sum(i) from {rows}") == 3
        sql, name = mark(ENDLESS)
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.4) as ctx:
                with transaction(ctx, maker) as session:
                    session.add(Row(i=4))
                    session.flush()
                    session.execute(text(sql))
        assert not watch.runs(name)
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                with transaction(ctx, maker) as session:
                    session.add(Row(i=5))
                    ctx.cancel()
        assert watch.value(f"select sum(i) from {rows}") == 3
        registry = scoped_session(maker)
        with guard(background(), registry):
            assert registry.scalars(select(Row.i).order_by(Row.i)).all() == [1, 2]
        registry.remove()


@drivers
def test_sessions_of_tasks_are_committed_and_rolled_back(
    run: Run, postgres: Server, mapped: None, watch: Watch, driver: str
) -> None:
    rows = Row.__tablename__
    watch.run(f"truncate {rows}")

    async def main() -> None:
        async with async_engine_of(postgres, driver) as engine:
            maker = async_sessionmaker(engine)
            pid = await value_async(engine, PID)
            async with transaction(background(), maker) as session:
                session.add(Row(i=1))
            async with AsyncSession(engine) as session:
                async with transaction(background(), session) as same:
                    assert same is session
                    session.add(Row(i=2))
            sql, name = mark(ENDLESS)
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.4) as ctx:
                    async with transaction(ctx, maker) as session:
                        session.add(Row(i=3))
                        await session.flush()
                        await execute_async(ctx, session, text(sql))
            assert not watch.runs(name)
            assert watch.value(f"select sum(i) from {rows}") == 3
            registry = async_scoped_session(maker, asyncio.current_task)
            async with guard(background(), registry):
                found = await registry.scalars(select(Row.i).order_by(Row.i))
                assert found.all() == [1, 2]
            await registry.remove()
            assert await value_async(engine, PID) == pid

    run(main)


def test_a_session_with_an_engine_for_each_class_is_guarded(postgres: Server) -> None:
    with engine_of(postgres) as engine:
        session = Session(binds={Row: engine})
        with session, table(postgres, Row.__tablename__, "i int primary key"):
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.2) as ctx, guard(ctx, session):
                    session.scalars(select(Row)).all()
                    session.execute(text(ENDLESS), bind_arguments={"mapper": Row})
            session.rollback()


def test_a_guard_is_for_its_block_alone(postgres: Server) -> None:
    with engine_of(postgres) as engine, engine.connect() as connection:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.3) as ctx:
                execute(ctx, connection, text(ENDLESS))
        connection.rollback()
        with background().with_timeout(0.01) as ctx:
            assert connection.scalar(text("select 7 from pg_sleep(0.1)")) == 7
            assert ctx.done()


# -- connections ---------------------------------------------------------------------


def test_nobody_waits_past_the_budget(postgres: Server) -> None:
    """A pool of two under fifty callers of code that exists; half of them give up."""
    with engine_of(postgres, size=2) as engine:
        attach(engine)

        def call(number: int) -> bool:
            try:
                with background().with_timeout(0.4 if number % 2 else LONG):
                    value(engine, text("select pg_sleep(0.04)"))
            except DeadlineExceeded:
                return False
            return True

        began = time.monotonic()
        calls = [start(call, number) for number in range(50)]
        served = [one.result(LONG) for one in calls]
        assert time.monotonic() - began < LONG
        assert all(served[::2])
        assert not all(served[1::2])
        with engine.connect() as one, engine.connect() as other:
            assert one.scalar(PID) != other.scalar(PID)


def test_the_pools_own_limit_stays(postgres: Server) -> None:
    with engine_of(postgres, pool_timeout=0.05) as engine, engine.connect():
        with background().with_timeout(LONG) as ctx, guard(ctx, engine):
            with pytest.raises(PoolTimeout):
                engine.connect()


@contextmanager
def deaf() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def test_a_connection_that_is_being_made_counts(postgres: Server) -> None:
    with deaf() as at:
        engine = create_engine(url_of("psycopg", at))
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.05) as ctx, transaction(ctx, engine):
                pytest.fail("there is none")
        assert time.monotonic() - began < SOON
        engine.dispose()


@drivers
def test_a_connection_that_is_being_made_in_a_task_counts(
    run: Run, driver: str
) -> None:
    async def main() -> None:
        with deaf() as at:
            engine = create_async_engine(url_of(driver, at))
            ctx = background().with_timeout(0.05)
            with pytest.raises(DeadlineExceeded):
                async with transaction(ctx, engine):
                    pytest.fail("there is none")
            await engine.dispose()

    run(main)


def test_the_question_whether_a_connection_lives_counts(postgres: Server) -> None:
    with engine_of(postgres, pool_pre_ping=True) as engine:
        attach(engine)
        pid = value(engine, PID)
        began = time.monotonic()
        with standing_still(pid):
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.4):
                    value(engine, SEVEN)
            assert time.monotonic() - began < SOON
            assert value(engine, PID) != pid


def test_the_other_connections_of_a_pool_stay(postgres: Server) -> None:
    """When one was cut. SQLAlchemy by itself would take all of them for lost."""
    with engine_of(postgres, size=2) as engine:
        attach(engine)
        with engine.connect() as one, engine.connect() as other:
            stuck, stays = one.scalar(PID), other.scalar(PID)
            with standing_still(stuck):
                with pytest.raises(DeadlineExceeded):
                    with background().with_timeout(0.4):
                        one.execute(SEVEN)
        with engine.connect() as one, engine.connect() as other:
            pids = {one.scalar(PID), other.scalar(PID)}
            assert stays in pids
            assert stuck not in pids


# -- SQLite --------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "db")) as conn:
        conn.execute("create table t (i int)")
    return str(tmp_path / "db")


@pytest.fixture
def lite(path: str) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}")
    attach(engine)
    yield engine
    engine.dispose()


def test_on_sqlite_a_statement_ends(lite: Engine) -> None:
    value(lite, SEVEN)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        with background().with_timeout(0.3) as ctx:
            value(lite, text(COUNTING))
    assert caught.value.ctx is ctx
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert time.monotonic() - began < SOON
    assert value(lite, SEVEN) == 7


def test_on_sqlite_the_rows_end_that_are_computed_when_asked_for(lite: Engine) -> None:
    slow = NUMBERS.format(3_000_000_000) + " select i from r where i in (1, 2)"
    with lite.connect() as connection, background().with_timeout(LONG) as ctx:
        with ctx.with_timeout(0.4):
            result = connection.execute(text(slow))
            assert result.fetchone() == (1,)
            with pytest.raises(DeadlineExceeded):
                result.fetchall()
        assert connection.scalar(SEVEN) == 7


def waits_for_a_lock(path: str, insert: Callable[[], None]) -> None:
    """Another connection has the only lock when `insert` begins."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        began = time.monotonic()
        with pytest.raises(Canceled):
            insert()
        assert time.monotonic() - began < 4.0  # SQLite itself would wait for five


def test_on_sqlite_a_wait_for_a_lock_ends(lite: Engine, path: str) -> None:
    def insert() -> None:
        with background().with_cancel() as ctx:
            canceling = threading.Timer(0.05, ctx.cancel)
            canceling.start()
            with transaction(ctx, lite) as connection:
                connection.execute(text("insert into t values (1)"))

    waits_for_a_lock(path, insert)
    assert value(lite, text("select count(*) from t")) == 0


def test_on_aiosqlite_a_statement_ends_and_its_thread_is_free(
    run: Run, path: str
) -> None:
    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        attach(engine)
        await value_async(engine, SEVEN)
        for end in ("deadline", "others"):
            began = time.monotonic()
            with background().with_timeout(LONG) as ctx:
                if end == "deadline":
                    with pytest.raises(DeadlineExceeded) as caught:
                        with ctx.with_timeout(0.4):
                            await value_async(engine, text(COUNTING))
                    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
                else:
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.3):
                            await value_async(engine, text(COUNTING))
            assert await value_async(engine, SEVEN) == 7
            assert time.monotonic() - began < SOON
        await engine.dispose()

    run(main)


def test_on_aiosqlite_tasks_may_share_a_connection(run: Run) -> None:
    """That is how SQLAlchemy has a database in memory."""

    async def main() -> None:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        attach(engine)
        assert await value_async(engine, SEVEN) == 7  # there is one from now on

        async def seven() -> int:
            with background().with_timeout(LONG):  # whose end is nobody else's
                return int(await value_async(engine, SEVEN))

        for _ in range(10):
            assert await asyncio.gather(*(seven() for _ in range(20))) == [7] * 20
        await engine.dispose()

    run(main)


def test_on_aiosqlite_a_wait_for_a_lock_ends(run: Run, path: str) -> None:
    async def insert() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        try:
            with background().with_cancel() as ctx:
                asyncio.get_running_loop().call_later(0.05, ctx.cancel)
                async with transaction(ctx, engine) as connection:
                    await connection.execute(text("insert into t values (1)"))
        finally:
            await engine.dispose()

    waits_for_a_lock(path, lambda: run(insert))


def test_on_aiosqlite_a_transaction_is_committed_or_rolled_back(
    run: Run, path: str
) -> None:
    async def main() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        insert = text("insert into t values (1)")
        with background().with_timeout(LONG) as ctx:
            async with transaction(ctx, engine) as connection:
                await connection.execute(insert)
            with pytest.raises(DeadlineExceeded):
                with ctx.with_timeout(0.3) as budget:
                    async with transaction(budget, engine) as connection:
                        await connection.execute(insert)
                        await connection.execute(text(COUNTING))
        assert await value_async(engine, text("select count(*) from t")) == 1
        await engine.dispose()

    run(main)


# -- what cannot be stopped ----------------------------------------------------------


def test_with_another_driver_the_context_is_looked_at(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(f"sqlite:///{path}")
    monkeypatch.setattr(engine.dialect, "driver", "another")
    attach(engine)
    with background().with_cancel() as ctx:
        assert value(engine, SEVEN) == 7
        ctx.cancel()
        with pytest.raises(Canceled):
            value(engine, SEVEN)
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.05):
            value(engine, text(NUMBERS.format(3_000_000) + " select sum(i) from r"))
    engine.dispose()


def test_an_engine_for_threads_on_a_loop_is_looked_at(run: Run, engine: Engine) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.05):
                value(engine, text("select pg_sleep(0.2)"))
        assert value(engine, SEVEN) == 7
        with pytest.raises(RuntimeError, match="async with"):
            with guard(background(), engine):
                pass

    run(main)


def test_an_administrators_cancel_is_not_ours(
    engine: Engine, postgres: Server, watch: Watch
) -> None:
    sql, name = mark(ENDLESS)
    with background().with_timeout(LONG), engine.connect() as connection:
        cancel = f"select pg_cancel_backend({connection.scalar(PID)})"
        with once_it_runs(postgres, name, lambda: watch.value(cancel)):
            with pytest.raises(DBAPIError, match="user request"):
                connection.execute(text(sql))


def test_events_of_others_are_told_as_ever(engine: Engine) -> None:
    told: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda conn, cursor, sql, *_: told.append(sql)
    )
    event.listen(engine, "handle_error", lambda context: told.append("error"))
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.3):
            value(engine, text(ENDLESS))
    assert told == [ENDLESS, "error"]


def test_bad_input_is_refused(engine: Engine) -> None:
    with pytest.raises(TypeError, match="takes a context"):
        guard(None, engine)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes a context"):
        transaction(engine, engine)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="an engine, a connection or a session"):
        guard(background(), "sqlite://")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="an engine, a connection or a session"):
        transaction(background(), None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes an engine"):
        attach(engine.connect)  # type: ignore[arg-type]
