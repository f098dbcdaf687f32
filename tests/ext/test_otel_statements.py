"""A span for each statement, whatever driver runs it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import aiosqlite
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from demo.databases.server import Server
from tests.ext.stacks import STACKS, Stack, play
from tests.ext.tracing import Traced
from tether import ContextError, DeadlineExceeded, WaitGroup, background, to_thread
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
