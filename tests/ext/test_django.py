"""tether.ext.django on a real PostgreSQL and on SQLite, in threads and in views."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from itertools import count
from typing import Any

import django
import httpx
import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, OperationalError, connections, models
from django.db.transaction import TransactionManagementError, atomic
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import include, re_path
from django.urls import path as url
from prometheus_client import CollectorRegistry, generate_latest
from werkzeug.test import Client

from demo.databases.server import Server
from tests.core.support import LONG, start
from tests.ext.serving import serve
from tests.ext.tracing import Traced
from tests.ext.watching import Line, Watch, mark, once_it_runs, table
from tether import (
    Canceled,
    Context,
    ContextError,
    DeadlineExceeded,
    background,
    current,
)
from tether.ext.asgi import ContextMiddleware as ContextASGI
from tether.ext.django import (
    CommitUnknown,
    ContextMiddleware,
    execute_wrapper,
    guard,
    transaction,
)
from tether.ext.otel import statements
from tether.ext.prometheus import instrument
from tether.ext.wsgi import ContextWSGI
from tether.testing import Verdict, sweep

ENDLESS = "select pg_sleep(600)"
NUMBERS = "with recursive r(i) as (select 1 union all select i + 1 from r where i < {})"
COUNTING = NUMBERS.format(3_000_000_000) + " select sum(i) from r"  # many minutes
SOON = 15.0  # far less than those, and more than a grace on a busy machine

_tables = count()


# -- one Django for this process -----------------------------------------------------


# At once, since nobody may look at an object of Django's before.
POOL = {"pool": {"min_size": 1, "max_size": 2, "timeout": LONG}}
DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django.db.backends.postgresql"},
    "pooled": {"ENGINE": "django.db.backends.postgresql", "OPTIONS": POOL},
    "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES=DATABASES,
    MIDDLEWARE=["tether.ext.django.ContextMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="-",
    USE_TZ=True,
)
django.setup()


@pytest.fixture(scope="module", autouse=True)
def configured(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    DATABASES["default"].update(postgres.django)
    DATABASES["pooled"].update(postgres.django)
    DATABASES["lite"]["NAME"] = str(tmp_path_factory.mktemp("django") / "lite")
    ContextMiddleware(lambda request: None)  # the connections follow from now on


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    connections.close_all()


@pytest.fixture
def watch(postgres: Server) -> Iterator[Watch]:
    with Watch(postgres) as watch:
        yield watch


@pytest.fixture
def rows(postgres: Server) -> Iterator[str]:
    """A table with one column, i."""
    with table(postgres, f"djangos_{next(_tables)}") as name:
        yield name


def model_of(name: str) -> Any:
    """A model for a table that is there."""

    class Meta:
        app_label = "tests"
        managed = False
        db_table = name

    body = {"__module__": __name__, "Meta": Meta}
    return type(
        name, (models.Model,), {**body, "i": models.IntegerField(primary_key=True)}
    )


def ask(sql: str, using: str = DEFAULT_DB_ALIAS) -> Any:
    """The first row."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def pid() -> int:
    number: int = ask("select pg_backend_pid()")[0]
    return number


@contextmanager
def standing_still(number: int) -> Iterator[None]:
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


def in_a_thread(fn: Callable[[], Any]) -> Any:
    """Django gives each thread connections of its own, to be closed by it."""

    def body() -> Any:
        try:
            return fn()
        finally:
            connections.close_all()

    return start(body)


# -- statements ----------------------------------------------------------------------


def by_cursor(sql: str) -> None:
    ask(sql)


def by_orm(sql: str) -> None:
    nothing = model_of(f"none_{next(_tables)}")
    list(nothing.objects.raw(sql.replace("select", "select 1 as i,")))


@pytest.mark.parametrize("call", [by_cursor, by_orm])
def test_a_statement_ends_with_its_deadline(
    watch: Watch, call: Callable[[str], None]
) -> None:
    before = pid()
    for _ in range(3):
        sql, name = mark(ENDLESS)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.3) as ctx:
                call(sql)
        assert time.monotonic() - began < SOON
        assert caught.value.ctx is ctx
        assert isinstance(caught.value.__cause__, OperationalError)
        assert isinstance(
            caught.value.__cause__.__cause__, psycopg.errors.QueryCanceled
        )
        assert not watch.runs(name)  # gone before the caller is back
        assert pid() == before


def test_a_statement_ends_when_somebody_cancels(postgres: Server) -> None:
    sql, name = mark(ENDLESS)
    why = KeyError("why")
    with pytest.raises(Canceled) as caught:
        with background().with_cancel() as ctx:
            with once_it_runs(postgres, name, lambda: ctx.cancel(why)):
                ask(sql)
    last: BaseException = caught.value
    while last.__cause__ is not None:
        last = last.__cause__
    assert last is why
    assert ask("select 7") == (7,)


def test_an_administrators_cancel_is_not_ours(postgres: Server, watch: Watch) -> None:
    sql, name = mark(ENDLESS)
    cancel = f"select pg_cancel_backend({pid()})"
    with background().with_timeout(LONG):
        with once_it_runs(postgres, name, lambda: watch.value(cancel)):
            with pytest.raises(OperationalError, match="user request"):
                ask(sql)


def test_djangos_own_errors_pass() -> None:
    with background().with_timeout(LONG):
        with pytest.raises(Error, match="division"):
            ask("select 1 / 0")
        assert ask("select 7") == (7,)


def test_nothing_is_run_when_it_is_over(rows: str, watch: Watch) -> None:
    with pytest.raises(Canceled):
        with background().with_cancel() as ctx:
            ctx.cancel()
            ask(f"insert into {rows} values (1)")
    assert watch.value(f"select count(*) from {rows}") == 0


def test_rows_from_a_cursor_in_the_server_end_as_well(rows: str) -> None:
    model = model_of(rows)
    ask(f"insert into {rows} select generate_series(1, 5000)")
    with atomic():
        assert [row.i for row in model.objects.order_by("i").iterator(100)][-1] == 5000
    seen = 0
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(1.0) as ctx, atomic():
            once = "pg_sleep(case when i = 1001 then 600 else 0 end)::text"
            slow = model.objects.order_by("i").extra(select={"slow": once})
            for _ in slow.iterator(100):
                seen += 1
    assert ctx.done()
    assert seen == 1000
    assert ask("select 7") == (7,)


# -- transactions --------------------------------------------------------------------


@pytest.mark.parametrize("block", ["atomic", "transaction"])
def test_a_transaction_ends_with_its_deadline(
    rows: str, watch: Watch, block: str
) -> None:
    before = pid()
    model = model_of(rows)
    for _ in range(3):
        sql, name = mark(ENDLESS)
        with pytest.raises(DeadlineExceeded) as caught:
            with background().with_timeout(0.4) as ctx:
                with atomic() if block == "atomic" else transaction(ctx):
                    model.objects.create(i=1)
                    ask(sql)
        assert caught.value.ctx is ctx
        assert not watch.runs(name)
        assert watch.value(f"select count(*) from {rows}") == 0
        assert pid() == before
    assert ask("select 7") == (7,)


def test_a_transaction_is_committed_or_rolled_back(rows: str, watch: Watch) -> None:
    model = model_of(rows)
    with transaction(background()) as connection:
        assert connection is connections["default"]
        model.objects.create(i=1)
    with pytest.raises(KeyError):
        with transaction(background()):
            model.objects.create(i=2)
            raise KeyError
    with pytest.raises(Canceled):
        with background().with_cancel() as ctx, transaction(ctx):
            model.objects.create(i=3)
            ctx.cancel()
    with pytest.raises(Canceled):
        with background().with_cancel() as ctx, atomic():
            model.objects.create(i=4)
            ctx.cancel()
    assert watch.value(f"select sum(i) from {rows}") == 1
    assert ask("select 7") == (7,)


def test_ended_at_each_look_a_transaction_leaves_nothing(
    rows: str, watch: Watch
) -> None:
    model = model_of(rows)

    def order(ctx: Context, _: str) -> None:
        try:
            with transaction(ctx):
                model.objects.create(i=1)
                ask("select pg_sleep(0.002)")
                with transaction(ctx):
                    model.objects.filter(i=1).delete()
        finally:
            connections.close_all()  # it is in a thread of its own

    def check(_: str) -> bool:
        return bool(watch.value(f"select count(*) from {rows}") == 0)

    report = sweep(order, setup=lambda: rows, check=check, limit=60.0)
    assert report.verdict is Verdict.PASS, str(report)
    assert len(report.delivered) >= 10


def test_a_savepoint_is_rolled_back_alone(rows: str, watch: Watch) -> None:
    model = model_of(rows)
    with background().with_timeout(LONG) as ctx, atomic():
        model.objects.create(i=1)
        for i in (2, 3):
            with pytest.raises(DeadlineExceeded):
                with ctx.with_timeout(0.3) as budget:
                    with atomic() if i == 2 else transaction(budget):
                        model.objects.create(i=i)
                        ask(ENDLESS)
        with transaction(ctx):
            model.objects.create(i=4)
    assert watch.value(f"select sum(i) from {rows}") == 5


def test_a_transaction_that_has_failed_is_not_committed_in_silence(rows: str) -> None:
    with pytest.raises(TransactionManagementError, match="nothing to commit"):
        with background().with_timeout(LONG) as ctx, transaction(ctx):
            ask(f"insert into {rows} values (1)")
            with pytest.raises(DeadlineExceeded):
                with ctx.with_timeout(0.3):
                    ask(ENDLESS)
    assert ask(f"select count(*) from {rows}") == (0,)


def test_a_commit_that_is_canceled_has_rolled_back(rows: str, watch: Watch) -> None:
    watch.run(
        f"create function {rows}_slow() returns trigger language plpgsql as "
        "$$ begin perform pg_sleep(600); return null; end $$; "
        f"create constraint trigger slow after insert on {rows} deferrable "
        f"initially deferred for each row execute function {rows}_slow()"
    )
    before = pid()
    for block in ("atomic", "transaction"):
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.4) as ctx:
                with atomic() if block == "atomic" else transaction(ctx):
                    ask(f"insert into {rows} values (1)")
        assert ask(f"select count(*) from {rows}") == (0,)
    assert pid() == before


def test_a_commit_that_nobody_answered_is_unknown(rows: str, postgres: Server) -> None:
    with Line(postgres, b"COMMIT") as line:

        def insert() -> Any:
            connection = connections["default"]
            connection.settings_dict = {
                **connection.settings_dict,
                "PORT": int(line.url.rpartition(":")[2].partition("/")[0]),
                "OPTIONS": {"sslmode": "disable"},
            }
            with pytest.raises(CommitUnknown, match="look before") as caught:
                with background().with_timeout(0.5) as ctx, transaction(ctx):
                    ask(f"insert into {rows} values (1)")
            assert isinstance(caught.value.__cause__, DeadlineExceeded)
            assert connection.connection is None

        in_a_thread(insert).result(LONG)
        assert line.dead.is_set()


# -- a server that stands still ------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_a_server_that_stands_still_holds_nobody(rows: str, inside: bool) -> None:
    for _ in range(2):
        number = pid()
        began = time.monotonic()
        with standing_still(number):
            with pytest.raises(DeadlineExceeded) as caught:
                with background().with_timeout(0.4) as ctx:
                    if inside:
                        with atomic():
                            ask(f"insert into {rows} values (1)")
                    else:
                        ask("select 1")
            assert caught.value.ctx is ctx
            assert time.monotonic() - began < SOON
            # While it still stands still, and its connection is replaced.
            assert pid() != number
    assert ask(f"select count(*) from {rows}") == (0,)


# -- connections ---------------------------------------------------------------------


def test_a_wait_for_a_connection_counts_and_notices() -> None:
    held, release = threading.Barrier(3), threading.Event()

    def hold() -> None:
        ask("select 1", "pooled")
        held.wait(LONG)
        assert release.wait(LONG)

    holding = [in_a_thread(hold), in_a_thread(hold)]
    held.wait(LONG)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        with background().with_timeout(0.05) as ctx:
            ask("select 1", "pooled")
    assert caught.value.ctx is ctx
    with pytest.raises(Canceled):
        with background().with_cancel() as ctx:
            canceling = threading.Timer(0.05, ctx.cancel)
            canceling.start()
            ask("select 1", "pooled")
    canceling.join()
    assert time.monotonic() - began < SOON
    release.set()
    for one in holding:
        one.result(LONG)
    pool_is_whole()


def pool_is_whole() -> None:
    everyone = threading.Barrier(2)

    def use() -> Any:
        number = ask("select pg_backend_pid()", "pooled")
        everyone.wait(LONG)
        return number

    both = [in_a_thread(use), in_a_thread(use)]
    assert len({one.result(LONG) for one in both}) == 2
    connections["pooled"].close_pool()


def test_nobody_waits_past_the_budget() -> None:
    """A pool of two under fifty callers, half of whom give up."""

    def caller(number: int) -> Callable[[], bool]:
        def call() -> bool:
            try:
                with background().with_timeout(0.4 if number % 2 else LONG):
                    ask("select pg_sleep(0.04)", "pooled")
            except DeadlineExceeded:
                return False
            return True

        return call

    began = time.monotonic()
    calls = [in_a_thread(caller(number)) for number in range(50)]
    served = [one.result(LONG) for one in calls]
    assert time.monotonic() - began < LONG
    assert all(served[::2])
    assert not all(served[1::2])
    pool_is_whole()


# -- the late cancel -----------------------------------------------------------------


def test_a_late_cancel_kills_no_innocent_statement() -> None:
    stopped = 0
    budget = 0.0015
    spread = random.Random(7)
    for _ in range(150):
        try:
            with background().with_timeout(budget):
                ask(f"select pg_sleep({spread.random() * 0.002})")
            budget *= 0.9  # so that about half of them are stopped
        except DeadlineExceeded:
            budget *= 1.1
            stopped += 1
        ask("select pg_sleep(0.001)")
    assert stopped


@pytest.mark.stress
def test_an_end_at_any_moment_leaves_all_or_nothing(rows: str) -> None:
    def transfer(i: int) -> None:
        with atomic():
            ask(f"insert into {rows} values ({i})")
            with atomic():
                ask("select pg_sleep(0.001)")
                ask(f"insert into {rows} values ({-i})")

    spread = random.Random(7)
    done = {1, 2}
    transfer(1)
    began = time.monotonic()
    transfer(2)
    took = time.monotonic() - began
    for i in range(3, 100):
        # Some surely in time, some surely not, on whatever machine.
        after = {0: 0.0, 1: LONG}.get(i % 10, spread.random() * took * 1.2)
        with background().with_cancel() as ctx:
            timer = threading.Timer(after, ctx.cancel)
            if after:
                timer.start()
            else:
                ctx.cancel()
            try:
                transfer(i)
                done.add(i)
            except ContextError:
                pass
            timer.cancel()
    with connections["default"].cursor() as cursor:
        cursor.execute(f"table {rows}")
        there = sorted(row[0] for row in cursor.fetchall())
    assert there == sorted([*done, *(-i for i in done)])
    assert 2 < len(done) < 99


# -- SQLite --------------------------------------------------------------------------


def test_on_sqlite_a_statement_ends() -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        with background().with_timeout(0.3) as ctx:
            ask(COUNTING, "lite")
    assert caught.value.ctx is ctx
    assert isinstance(caught.value.__cause__, OperationalError)
    assert time.monotonic() - began < SOON
    assert ask("select 7", "lite") == (7,)


def test_on_sqlite_the_rows_end_that_are_computed_when_asked_for() -> None:
    began = time.monotonic()
    slow = NUMBERS.format(3_000_000_000) + " select i from r where i in (1, 2)"
    with connections["lite"].cursor() as cursor:
        with pytest.raises(DeadlineExceeded):
            with background().with_timeout(0.4):
                cursor.execute(slow)
                assert cursor.fetchone() == (1,)
                cursor.fetchall()
    assert time.monotonic() - began < SOON


def test_on_sqlite_a_wait_for_a_lock_ends_and_rolls_back() -> None:
    name = DATABASES["lite"]["NAME"]
    ask("create table if not exists locked (i int)", "lite")
    with closing(sqlite3.connect(name, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(Canceled):
            with background().with_cancel() as ctx:
                canceling = threading.Timer(0.05, ctx.cancel)
                canceling.start()
                began = time.monotonic()
                with transaction(ctx, "lite"):
                    ask("insert into locked values (1)", "lite")
        assert time.monotonic() - began < 4.0  # SQLite itself would wait for five
        canceling.join()
        other.execute("rollback")
    assert ask("select count(*) from locked", "lite") == (0,)
    with background().with_timeout(LONG) as ctx, transaction(ctx, "lite"):
        ask("insert into locked values (1)", "lite")
    assert ask("select count(*) from locked", "lite") == (1,)


# -- a database that is neither ------------------------------------------------------


def test_with_another_database_the_context_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask("create table if not exists others (i int)", "lite")
    monkeypatch.setattr(connections["lite"], "vendor", "another")
    with background().with_cancel() as ctx:
        ask("insert into others values (1)", "lite")
        ctx.cancel()
        with pytest.raises(Canceled):
            ask("insert into others values (2)", "lite")
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.05):
            ask(NUMBERS.format(3_000_000) + " select sum(i) from r", "lite")
    assert ask("select sum(i) from others", "lite") == (1,)


# -- guard ---------------------------------------------------------------------------


def test_a_guard_is_for_a_connection_that_follows_nothing(postgres: Server) -> None:
    connection = connections.create_connection.args[0]("default")
    try:
        with connection.cursor() as cursor:
            with background().with_timeout(0.01):
                cursor.execute("select pg_sleep(0.1)")
            with guard(background(), connection) as same:
                assert same is connections["default"]
        with background().with_timeout(0.3) as ctx:
            with connection.execute_wrapper(execute_wrapper):
                with pytest.raises(DeadlineExceeded):
                    with connection.cursor() as cursor:
                        cursor.execute(ENDLESS)
            assert ctx.done()
    finally:
        connection.close()


def test_what_runs_in_a_guard_ends() -> None:
    before = pid()
    ctx = background().with_timeout(0.3)
    with pytest.raises(DeadlineExceeded):
        with guard(ctx) as connection, connection.cursor() as cursor:
            cursor.execute(ENDLESS)
    ctx.cancel()
    assert pid() == before


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a context"):
        with guard(None):  # type: ignore[arg-type]
            pass
    with pytest.raises(TypeError, match=r"django\.db\.connections"):
        with guard(background(), object()):
            pass
    with pytest.raises(TypeError, match="takes a context"):
        with transaction("default"):  # type: ignore[arg-type]
            pass

    async def main() -> None:
        with pytest.raises(RuntimeError, match="sync_to_async"):
            with guard(background()):
                pass

    asyncio.run(main())


# -- views ---------------------------------------------------------------------------

SQL, NAME = mark(ENDLESS)


def sync_view(request: HttpRequest) -> HttpResponse:
    with atomic():
        ask(f"insert into {request.GET['rows']} values (1)")
        ask(SQL)
    return HttpResponse("slept")


async def async_view(request: HttpRequest) -> HttpResponse:
    await sync_to_async(sync_view)(request)
    return HttpResponse("slept")


async def async_orm_view(request: HttpRequest) -> HttpResponse:
    slow = model_of(request.GET["rows"]).objects.extra(
        where=[f"pg_sleep(600) is null {SQL.partition('600)')[2]}"]
    )
    async for _ in slow:
        pass
    return HttpResponse("slept")


def told(_: HttpRequest, **__: object) -> HttpResponse:
    return HttpResponse(current().label)


async def told_async(_: HttpRequest, **__: object) -> HttpResponse:
    return HttpResponse(current().label)


urlpatterns = [
    url("sync", sync_view),
    url("async", async_view),
    url("orm", async_orm_view),
    url("", told),
    url("carts/<int:id>", told),
    url("async/carts/<int:id>", told_async),
    url("shops/<slug:shop>/", include([url("carts/<path:rest>", told)])),
    re_path(r"^users/(?P<id>\d+)$", told),
]


def test_a_sync_view_ends_with_its_request(rows: str, watch: Watch) -> None:
    from django.core.wsgi import get_wsgi_application

    application = ContextWSGI(get_wsgi_application(), timeout=0.5)
    status: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/sync",
        "QUERY_STRING": f"rows={rows}",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": BytesIO(),
    }
    began = time.monotonic()

    def start_response(code: str, *_: Any) -> Callable[[bytes], None]:
        status.append(code)
        return lambda data: None

    body: Any = application(environ, start_response)
    list(body)
    body.close()
    assert status == ["504 Gateway Timeout"]
    assert time.monotonic() - began < SOON
    assert not watch.runs(NAME)
    assert watch.value(f"select count(*) from {rows}") == 0


# Django leaves the file with the body to the collector when it is interrupted.
@pytest.mark.filterwarnings(
    "ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("end", ["deadline", "client"])
@pytest.mark.parametrize("view", ["sync", "async", "orm"])
def test_a_view_under_asgi_ends_with_its_request(
    rows: str, watch: Watch, postgres: Server, view: str, end: str
) -> None:
    from django.core.asgi import get_asgi_application

    timeout = 0.5 if end == "deadline" else LONG
    application: Any = ContextASGI(get_asgi_application(), timeout)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/{view}",
        "query_string": f"rows={rows}".encode(),
        "headers": [],
    }
    ask(f"insert into {rows} values (1)")

    async def main() -> list[int]:
        status: list[int] = []
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        loop = asyncio.get_running_loop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        def leave() -> None:
            gone = {"type": "http.disconnect"}
            loop.call_soon_threadsafe(inbox.put_nowait, gone)

        if end == "client":
            with once_it_runs(postgres, NAME, leave):
                await application(scope, inbox.get, send)
        else:
            await application(scope, inbox.get, send)
        await asyncio.to_thread(watch.until, NAME, runs=False)
        return status

    began = time.monotonic()
    status = asyncio.run(main())
    gc.collect()  # a connection that was not given back would complain
    assert time.monotonic() - began < SOON
    if end == "deadline":
        assert status == [504]
    assert watch.value(f"select count(*) from {rows}") == 1
    assert current() is background()


def test_the_middleware_has_the_connections_follow() -> None:
    assert connections["default"].execute_wrappers == [execute_wrapper]


# -- what a request is called --------------------------------------------------------


def ask_wsgi(path: str) -> str:
    from django.core.wsgi import get_wsgi_application

    application = ContextWSGI(get_wsgi_application(), timeout=LONG)
    with closing(Client(application).get(path)) as answer:
        return answer.text


def ask_asgi(path: str) -> str:
    from django.core.asgi import get_asgi_application

    application: Any = ContextASGI(get_asgi_application(), timeout=LONG)
    with serve(application) as served:
        return httpx.get(f"http://127.0.0.1:{served.port}{path}").text


SERVED = pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
Ask = Callable[[str], str]


class Early:
    """A middleware with a context of its own, before there is a route."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with current().with_timeout(LONG, label=request.GET.get("label")):
            return self._get_response(request)


@SERVED
@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/carts/17", "GET /carts/{id}"),
        ("/async/carts/17", "GET /async/carts/{id}"),
        ("/shops/9/carts/a/b", "GET /shops/{shop}/carts/{rest}"),
        ("/users/5", r"GET /^users/(?P<id>\d+)$"),
        ("/", "GET /"),
    ],
)
def test_a_request_is_called_by_its_route(ask: Ask, path: str, label: str) -> None:
    assert ask(path) == label


@SERVED
def test_what_began_before_the_route_was_found_is_called_by_it(ask: Ask) -> None:
    ours = "tether.ext.django.ContextMiddleware"
    with override_settings(MIDDLEWARE=[ours, f"{__name__}.Early"]):
        assert ask("/carts/17") == "GET /carts/{id}"
        assert ask("/carts/17?label=mine") == "mine"


@SERVED
def test_a_path_without_a_route_is_no_name(ask: Ask) -> None:
    registry = CollectorRegistry()
    undo = instrument(registry, roots=1000)
    ask("/wp-admin.php")
    text = generate_latest(registry).decode()
    undo()
    assert 'tether_contexts_done_total{cause="left",root="GET"}' in text
    assert "wp-admin" not in text


def test_a_context_that_is_no_requests_keeps_its_name() -> None:
    from django.core.wsgi import get_wsgi_application

    with background().with_cancel(label="mine") as ctx:
        with closing(Client(get_wsgi_application()).get("/carts/17")) as answer:
            assert answer.text == "mine"
    assert ctx.label == "mine"


@pytest.mark.parametrize("using", ["default", "lite"])
def test_a_statement_has_a_span(using: str, traced: Traced) -> None:
    undo = statements(tracer=traced.tracer)
    with background().with_cancel() as ctx, guard(ctx, connections[using]):
        ask("select 1 + 1", using)
    undo()
    said = [dict(one.attributes or {}) for one in traced.spans()]
    [mine] = [one for one in said if one["db.query.text"] == "select 1 + 1"]
    assert mine["db.system.name"] == {"lite": "sqlite"}.get(using, "postgresql")
