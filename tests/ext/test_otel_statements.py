"""A span for each statement, whatever driver runs it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import aiosqlite
import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from demo.databases.server import Server
from tests.ext.stacks import STACKS, Stack, play
from tests.ext.tracing import Traced
from tests.ext.watching import mark, once_it_runs
from tether import ContextError, DeadlineExceeded, WaitGroup, background, to_thread
from tether.ext import psycopg as for_psycopg
from tether.ext import sqlite
from tether.ext.otel import span, statements

ENDLESS = "select pg_sleep(600)"
MINE = ["select 1", "with a as (select 1) table a", "set application_name = 'x'"]
ROOT = "GET /carts/{id}"


@pytest.fixture(autouse=True)
def on(traced: Traced) -> Iterator[Callable[[], None]]:
    """What switches it off."""
    undo = statements(tracer=traced.tracer)
    yield undo
    undo()


def attributes(one: ReadableSpan) -> dict[str, object]:
    return dict(one.attributes or {})


@pytest.mark.parametrize("name", STACKS)
def test_each_statement_has_one(name: str, postgres: Server, traced: Traced) -> None:
    async def test(stack: Stack) -> None:
        with background().with_timeout(60.0, label=ROOT) as ctx:
            with span(ctx, "gateway", tracer=traced.tracer) as above:
                async with stack.pool(1) as pool:
                    await stack.fetch_one(ctx, pool, MINE[0])
                async with stack.connect() as conn:
                    await stack.fetch_all(ctx, conn, MINE[1])
                    await stack.execute(ctx, conn, MINE[2])
                assert get_current_span() is above

    play(name, postgres, test)
    *found, gateway = traced.spans()
    # SQLAlchemy has questions of its own on a new connection.
    found = [one for one in found if attributes(one)["db.query.text"] in MINE]
    assert [one.name for one in found] == ["SELECT", "WITH", "SET"]
    assert gateway.context is not None
    for one in found:
        assert one.kind is SpanKind.CLIENT
        assert one.parent is not None
        assert one.parent.span_id == gateway.context.span_id
        said = attributes(one)
        assert said["db.system.name"] == "postgresql"
        assert said["tether.root"] == ROOT
        assert 0.0 < float(str(said["tether.budget.end"])) <= 60.0
    assert [attributes(one)["db.query.text"] for one in found] == MINE


@pytest.mark.parametrize("name", STACKS)
def test_one_that_is_cut_says_why(name: str, postgres: Server, traced: Traced) -> None:
    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            with pytest.raises(DeadlineExceeded):
                with background().with_timeout(0.05) as ctx:
                    await stack.fetch_one(ctx, conn, ENDLESS)

    play(name, postgres, test)
    one = traced.only()
    assert "context.done" in [event.name for event in one.events]
    assert one.status.status_code is StatusCode.ERROR


# -- statements that code runs by itself, in a block of ours -------------------------

# To be tried in turn until a statement has begun within one, in seconds.
DEADLINES = 0.05, 1.0, 10.0
PSYCOPG = [name for name in STACKS if name.startswith("psycopg")]


@pytest.mark.parametrize("name", PSYCOPG)
def test_a_statement_in_a_block_has_one(
    name: str, postgres: Server, traced: Traced
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.pool(1) as pool:
            with background().with_timeout(60.0, label=ROOT) as ctx:
                with span(ctx, "gateway", tracer=traced.tracer) as above:
                    async with stack.transaction(ctx, pool) as conn:
                        await stack.plain(conn, MINE[0])
                        await stack.execute(ctx, conn, MINE[1])  # not a second one
                        await stack.plain(conn, MINE[2])
                    assert get_current_span() is above
        async with stack.connect() as conn:
            with background().with_timeout(60.0, label=ROOT) as ctx:
                async with stack.guard(ctx, conn):
                    await stack.plain(conn, MINE[0])
                await stack.plain(conn, "select 'after the block'")

    play(name, postgres, test)
    *found, gateway, alone = traced.spans()
    assert gateway.context is not None
    for one in found:
        assert one.parent is not None
        assert one.parent.span_id == gateway.context.span_id
    assert alone.parent is None
    said = [attributes(one) for one in [*found, alone]]
    assert [one["db.query.text"] for one in said] == [*MINE, MINE[0]]
    assert [one["db.operation.name"] for one in said] == [
        *("SELECT", "WITH", "SET", "SELECT")
    ]
    for mine in said:
        assert mine["db.system.name"] == "postgresql"
        assert mine["tether.root"] == ROOT
        assert 0.0 < float(str(mine["tether.budget.end"])) <= 60.0
    assert {one.kind for one in [*found, alone]} == {SpanKind.CLIENT}


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("name", PSYCOPG)
def test_one_in_a_block_says_how_it_ended(
    name: str, cut: bool, postgres: Server, traced: Traced
) -> None:
    async def test(stack: Stack) -> None:
        for seconds in DEADLINES if cut else [60.0]:
            async with stack.connect() as conn:
                with pytest.raises(DeadlineExceeded if cut else stack.error):
                    with background().with_timeout(seconds) as ctx:
                        async with stack.guard(ctx, conn):
                            await stack.plain(conn, ENDLESS if cut else "select 1 / 0")
            if traced.spans():
                break

    play(name, postgres, test)
    one = traced.only()
    events = ["context.done"] if cut else ["exception"]
    assert [event.name for event in one.events] == events
    assert one.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("name", PSYCOPG)
def test_a_cancel_is_no_error_of_the_statement(
    name: str, postgres: Server, traced: Traced
) -> None:
    async def test(stack: Stack) -> None:
        async with stack.connect() as conn:
            with background().with_cancel() as ctx:
                sql, known = mark(ENDLESS)
                with once_it_runs(postgres, known, ctx.cancel):
                    with pytest.raises((ContextError, asyncio.CancelledError)):
                        async with stack.guard(ctx, conn):
                            await stack.plain(conn, sql)

    with suppress(ContextError):
        play(name, postgres, test)
    one = traced.only()
    assert [event.name for event in one.events] == ["context.done"]
    assert one.status.status_code is StatusCode.UNSET


def test_the_cursors_in_a_block_are_those_of_the_connection(
    postgres: Server, traced: Traced
) -> None:
    class Mine(psycopg.ClientCursor[psycopg.rows.TupleRow]):
        pass

    with closing(psycopg.connect(postgres.url, cursor_factory=Mine)) as conn:
        with background().with_cancel() as ctx, for_psycopg.guard(ctx, conn):
            cursor = conn.cursor()
            cursor.execute("create temporary table numbers (i int)")
            cursor.executemany("insert into numbers values (%s)", [(1,), (2,)])
            with cursor.copy("copy numbers from stdin") as copy:
                copy.write_row((3,))
            with background().with_cancel(label=ROOT) as inner:
                with for_psycopg.guard(inner, conn):
                    cursor.execute("select sum(i) from numbers")
            assert cursor.fetchone() == (6,)
            assert isinstance(cursor, Mine)
        assert conn.cursor_factory is Mine
        cursor.execute("select 'after the block'")
    names = [one.name for one in traced.spans()]
    assert names == ["CREATE", "INSERT", "COPY", "SELECT"]
    roots = [attributes(one).get("tether.root") for one in traced.spans()]
    assert roots == [None, None, None, ROOT]


def test_so_are_those_of_tasks(postgres: Server, traced: Traced) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.url) as conn:
            plain = conn.cursor_factory
            with background().with_cancel() as ctx:
                async with for_psycopg.transaction(ctx, conn), conn.cursor() as cursor:
                    await cursor.execute("create temporary table numbers (i int)")
                    insert = "insert into numbers values (%s)"
                    await cursor.executemany(insert, [(1,), (2,)])
                    async with cursor.copy("copy numbers from stdin") as copy:
                        await copy.write_row((3,))
                    await cursor.execute("select sum(i) from numbers")
                    assert await cursor.fetchone() == (6,)
                    assert isinstance(cursor, psycopg.AsyncCursor)
            assert conn.cursor_factory is plain

    asyncio.run(main())
    names = [one.name for one in traced.spans()]
    assert names == ["CREATE", "INSERT", "COPY", "SELECT"]


def test_blocks_of_several_tasks_end_in_any_order(
    postgres: Server, traced: Traced
) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.url) as conn:
            plain = conn.cursor_factory
            inside, go_on = asyncio.Event(), asyncio.Event()

            async def early() -> None:
                with background().with_cancel(label="early") as ctx:
                    async with for_psycopg.guard(ctx, conn):
                        inside.set()
                        await go_on.wait()

            task = asyncio.create_task(early())
            await inside.wait()
            with background().with_cancel(label="late") as ctx:
                async with for_psycopg.guard(ctx, conn):
                    go_on.set()
                    await task
                    await conn.execute("select 1")
            assert conn.cursor_factory is plain

    asyncio.run(main())
    assert attributes(traced.only())["tether.root"] == "late"


def test_who_traces_nothing_has_the_connection_as_it_is(
    postgres: Server, on: Callable[[], None]
) -> None:
    on()
    with closing(psycopg.connect(postgres.url)) as conn:
        plain = conn.cursor_factory
        with background().with_cancel() as ctx, for_psycopg.transaction(ctx, conn):
            assert conn.cursor_factory is plain


# -- SQLite, detached work, errors ---------------------------------------------------


def test_sqlite_has_them_in_threads_and_in_tasks(traced: Traced) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        sqlite.execute(background(), db, "create table a (i)")
        sqlite.fetch_one(background(), db, "select 1")
        sqlite.fetch_all(background(), db, "select 2")

    async def main() -> None:
        with background().with_timeout(60.0, label=ROOT) as ctx:
            with span(ctx, "gateway", tracer=traced.tracer):
                async with aiosqlite.connect(":memory:") as db:
                    await sqlite.execute_async(ctx, db, "create table b (i)")
                    await sqlite.fetch_one_async(ctx, db, "select 3")
                    await sqlite.fetch_all_async(ctx, db, "select 4")

    asyncio.run(main())
    *found, gateway = traced.spans()
    names = ["CREATE", "SELECT", "SELECT"]
    assert [one.name for one in found] == [*names, *names]
    assert {attributes(one)["db.system.name"] for one in found} == {"sqlite"}
    assert gateway.context is not None
    parents = {one.parent and one.parent.span_id for one in found[3:]}
    assert parents == {gateway.context.span_id}


def test_those_of_detached_work_belong_to_its_request(traced: Traced) -> None:
    def write(_: object) -> None:
        with closing(sqlite3.connect(":memory:")) as db:
            sqlite.execute(background(), db, "create table audits (who)")

    async def main() -> None:
        audits = WaitGroup(background())
        with background().with_cancel() as ctx:
            with span(ctx, "gateway", tracer=traced.tracer):
                audits.go_with(ctx, lambda ctx: write(ctx))
                await to_thread(ctx, write)
        await audits.drain_async(background())

    asyncio.run(main())
    [trace_id] = {one.context.trace_id for one in traced.spans() if one.context}
    assert traced.parents(trace_id) == {"CREATE": "gateway"}
    assert len(traced.spans()) == 3


def test_an_error_of_the_database_is_one_of_the_span(traced: Traced) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        with pytest.raises(sqlite3.OperationalError):
            sqlite.execute(background(), db, "drop table nothing")
    one = traced.only()
    assert [event.name for event in one.events] == ["exception"]
    assert one.status.status_code is StatusCode.ERROR


def test_one_that_never_began_has_a_span_that_says_so(traced: Traced) -> None:
    over = background().with_cancel()
    over.cancel()
    with closing(sqlite3.connect(":memory:")) as db:
        with pytest.raises(ContextError):
            sqlite.execute(over, db, "select 1")
    assert [event.name for event in traced.only().events] == ["context.done"]


def test_the_text_can_be_left_out_and_it_can_be_switched_off(
    traced: Traced, on: Callable[[], None]
) -> None:
    with pytest.raises(RuntimeError, match="on already"):
        statements()
    on()
    undo = statements(tracer=traced.tracer, text=False)
    with closing(sqlite3.connect(":memory:")) as db:
        sqlite.fetch_one(background(), db, "select 'secret'")
        undo()
        undo()
        sqlite.fetch_one(background(), db, "select 1")
    one = traced.only()
    assert one.name == "SELECT"
    assert "secret" not in str(attributes(one))
