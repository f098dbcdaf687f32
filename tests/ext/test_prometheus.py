"""tether.ext.prometheus: what a scrape says, and that it can be switched off."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    generate_latest,
    make_asgi_app,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from tests.core.support import Root
from tests.ext.serving import serve
from tests.ext.upstream import upstream
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    ContextError,
    DeadlineExceeded,
    Group,
    Scope,
    WaitGroup,
    _clock,
    _live,
    _watching,
    background,
    current,
    debug,
    to_thread,
)
from tether._describe import LABEL
from tether.ext.aiohttp import ClientSession
from tether.ext.asgi import ContextMiddleware
from tether.ext.httpx import AsyncClient, Client
from tether.ext.prometheus import _ends, _hops, _names, instrument
from tether.ext.requests import Session
from tether.ext.sqlite import fetch_all
from tether.ext.subprocess import run
from tether.testing import VirtualClock
from tether.wire import Outbound

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    undo = instrument(
        registry, roots=1000
    )  # the scopes of other tests have labels, too
    yield registry
    undo()


def scrape(registry: CollectorRegistry) -> Samples:
    return samples(generate_latest(registry).decode())


def samples(text: str) -> Samples:
    return {
        (sample.name, *_labels(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _labels(labels: dict[str, str]) -> list[str]:
    """Of their values, that of `root` before that of `cause`."""
    return [value for _, value in sorted(labels.items(), reverse=True)] or [""]


def test_contexts_are_counted_by_the_work_they_belong_to() -> None:
    registry = CollectorRegistry()
    with background().with_cancel(label="POST /older"):
        undo = instrument(registry)
        with (
            background().with_cancel(label="GET /counted") as cart,
            cart.with_timeout(9.0),
        ):
            said = scrape(registry)
        undo()
    assert said["tether_contexts_live", "GET /counted"] == 2
    assert said["tether_contexts_live", "POST /older"] == 1
    assert said["tether_contexts_overdue", "GET /counted"] == 0


def test_what_is_over_and_still_runs_is_overdue(registry: CollectorRegistry) -> None:
    with VirtualClock() as clock:
        with background().with_timeout(1.0, label="GET /overdue") as scope:
            clock.advance(2.0)
            during = scrape(registry)
        after = scrape(registry)
        del scope
        said = scrape(registry)
    assert during["tether_contexts_overdue", "GET /overdue"] == 1
    assert after["tether_contexts_overdue", "GET /overdue"] == 0  # it was left in order
    assert after["tether_contexts_live", "GET /overdue"] == 1
    assert said["tether_contexts_live", "GET /overdue"] == 0


def test_the_live_page_and_the_metrics_agree_on_what_is_overdue(
    registry: CollectorRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = background().with_value(LABEL, "GET /both")

    async def never_left() -> None:
        root.with_cancel().__enter__().cancel()

    async def main() -> tuple[Samples, debug.Look]:
        await asyncio.create_task(never_left())
        with root.with_cancel() as left:
            pass
        canceled = root.with_cancel()
        canceled.cancel()
        with suppress(Canceled), root.with_cancel() as above, above.with_cancel():
            above.cancel()
            seen = scrape(registry), page.look()
        del left, canceled
        return seen

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with debug.serve(port=0) as page:
        said, look = asyncio.run(main())
    late = [one for one in look.overdue if one.label == "GET /both"]
    assert len(late) == 2
    assert said["tether_contexts_overdue", "GET /both"] == 2


def test_a_label_made_of_ids_does_not_make_a_series_each() -> None:
    registry = CollectorRegistry()
    undo = instrument(registry, roots=3)
    scopes = [background().with_cancel(label=f"GET /users/{n}") for n in range(50)]
    said = scrape(registry)
    undo()
    for scope in scopes:
        scope.cancel()
    live = [name for name, *_ in said if name == "tether_contexts_live"]
    assert len(live) == 4
    assert said["tether_contexts_live", "other"] >= 47


def test_half_a_character_in_a_label_does_not_fail_each_scrape(
    registry: CollectorRegistry,
) -> None:
    name = os.fsdecode(b"read caf\xe9.txt")
    with background().with_cancel(label=name):
        seen = scrape(registry)
    assert seen["tether_contexts_live", r"read caf\udce9.txt"] == 1.0


def test_what_is_dropped_while_the_ends_are_added_up_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roots = _names.Names(100)
    ends = _ends.Ends(roots)
    with background().with_cancel(label="one") as one:
        pass
    with background().with_cancel(label="two") as two:
        pass
    ends.dropped(two)
    plain = roots.of

    def dropping(name: str) -> str:
        """Drops a scope in the middle, as a garbage collection may do anywhere."""
        monkeypatch.undo()
        with background().with_cancel(label="late") as late:
            pass
        ends.dropped(late)
        return plain(name)

    monkeypatch.setattr(roots, "of", dropping)
    assert ends.all([one]) == {("one", "left"): 1, ("two", "left"): 1}
    assert ends.all([one])["late", "left"] == 1


def test_a_call_tells_what_it_begins_with(registry: CollectorRegistry) -> None:
    with upstream() as server, Client() as http:
        with background().with_timeout(20.0) as ctx:
            http.get(ctx, f"{server.url}/ok")
        http.get(background(), f"{server.url}/ok")
    said = scrape(registry)
    assert said["tether_call_budget_seconds_count", "service"] == 1
    assert 0.0 < said["tether_call_budget_seconds_sum", "service"] <= 20.0
    assert said["tether_call_budget_seconds_bucket", "service", "30.0"] == 1
    assert said["tether_calls_without_deadline_total", "service"] == 1


def test_how_long_a_call_took_to_end_is_told_by_its_resource(
    registry: CollectorRegistry,
) -> None:
    endless = (
        "with recursive n(i) as (select 1 union all select i + 1 from n) "
        "select count(*) from n"
    )
    with closing(sqlite3.connect(":memory:")) as db:
        with background().with_cancel() as ctx:
            db.set_progress_handler(lambda: ctx.cancel(), 1000)
            with pytest.raises(Canceled):
                fetch_all(ctx, db, endless)
    interrupted = threading.Event()
    with background().with_cancel() as ctx, pytest.raises(Canceled):
        with ctx.interrupting(interrupted.set):
            ctx.cancel()
            assert interrupted.wait(10.0)
    text = generate_latest(registry).decode()
    for resource in ("sqlite", "other"):
        count = f'tether_release_seconds_count{{resource="{resource}"}} 1.0'
        assert count in text
    assert _watching.released is not None


def test_a_statement_tells_what_it_begins_with(registry: CollectorRegistry) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        with VirtualClock(), background().with_timeout(20.0) as ctx:
            assert fetch_all(ctx, db, "select 1") == [(1,)]
        fetch_all(background(), db, "select 1")
    said = scrape(registry)
    assert said["tether_call_budget_seconds_sum", "sqlite"] == 20.0
    assert said["tether_calls_without_deadline_total", "sqlite"] == 1
    assert said["tether_calls_without_deadline_total", "service"] == 0


def test_a_message_may_have_no_time(registry: CollectorRegistry) -> None:
    celery = pytest.importorskip("celery")
    from tether.ext.celery import ContextTask, send

    shop = celery.Celery("shop", broker="memory://", task_cls=ContextTask)

    @shop.task
    def reindex() -> None:
        """Nobody takes it."""

    reindex.delay()
    with background().with_timeout(20.0) as ctx:
        reindex.delay()  # detached: it does not take the time of the request along
        send(ctx.without_cancel(), reindex)
        before = scrape(registry)
        send(ctx, reindex)
    said = scrape(registry)
    assert before["tether_calls_without_deadline_total", "service"] == 0
    assert ("tether_call_budget_seconds_count", "service") not in before
    assert said["tether_call_budget_seconds_count", "service"] == 1
    Outbound(timeout=None).write(background(), {})  # a call to a stranger is a call
    assert scrape(registry)["tether_calls_without_deadline_total", "service"] == 1


def test_a_release_is_counted_from_the_end_of_the_context(
    registry: CollectorRegistry,
) -> None:
    now, ahead = _clock.now, 0.0
    interrupted = threading.Event()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DeadlineExceeded):
        patch.setattr(_clock, "now", lambda: now() + ahead)
        with background().with_timeout(50.0) as ctx, ctx.interrupting(interrupted.set):
            ahead = 80.0  # the machine is busy: who interrupts comes late
            assert ctx.done()
            assert interrupted.wait(10.0)
    said = scrape(registry)
    assert said["tether_release_seconds_sum", "other"] >= 30.0


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
def test_a_process_that_was_ended_is_a_release(registry: CollectorRegistry) -> None:
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.01) as ctx:
            run(ctx, [sys.executable, "-c", "import time; time.sleep(60)"])
    said = scrape(registry)
    assert said["tether_release_seconds_count", "subprocess"] == 1
    run(background(), [sys.executable, "-c", ""])
    assert scrape(registry)["tether_release_seconds_count", "subprocess"] == 1


def test_a_call_that_ends_in_time_is_no_release(registry: CollectorRegistry) -> None:
    with background().with_cancel() as ctx, ctx.interrupting(lambda: None):
        pass
    assert "tether_release_seconds_count" not in generate_latest(registry).decode()


def test_what_groups_have_to_do_is_counted_by_its_work(
    registry: CollectorRegistry,
) -> None:
    go_on = threading.Event()
    with background().with_cancel(label="GET /grouped") as ctx:
        with Group(ctx) as group:
            for _ in range(3):
                group.go(lambda ctx: go_on.wait(10.0))
            during = scrape(registry)
            go_on.set()
        after = scrape(registry)
    assert during["tether_tasks", "GET /grouped"] == 3
    assert after["tether_tasks", "GET /grouped"] == 0


def test_what_has_ended_is_counted_by_what_has_ended_it(
    registry: CollectorRegistry,
) -> None:
    root = background().with_value(LABEL, "GET /ended")
    with VirtualClock() as clock:
        with root.with_cancel():
            pass
        with root.with_cancel() as above, above.with_timeout(9.0) as below:
            above.cancel()
        with root.with_timeout(1.0) as slow:
            clock.advance(2.0)
        root.with_cancel().cancel(ClientDisconnected())
        kept = root.with_cancel()
        kept.cancel()
        with pytest.warns(ResourceWarning):
            root.with_cancel()
        del above, below, slow
        first, second = scrape(registry), scrape(registry)
        del kept
    name = "tether_contexts_done_total"
    found = {
        cause: n
        for (metric, *root, cause), n in first.items()
        if metric == name and root == ["GET /ended"]
    }
    assert found == {
        "left": 1,
        "canceled": 2,  # one of them is still there
        "parent": 1,
        "deadline_exceeded": 1,
        "client_disconnected": 1,
        "dropped": 1,
    }
    assert {key: n for key, n in second.items() if "GET /ended" in key} == {
        key: n for key, n in first.items() if "GET /ended" in key
    }
    third = scrape(registry)
    assert third[name, "GET /ended", "canceled"] == 2  # it is gone, and counted once


def test_what_was_never_looked_at_is_counted_by_its_end(
    registry: CollectorRegistry,
) -> None:
    with VirtualClock() as clock:
        timed = background().with_timeout(1.0, label="GET /unseen")
        with background().with_cancel(label="GET /unseen") as above:
            below = above.with_cancel()
        clock.advance(2.0)
        del timed, below, above
        said = scrape(registry)
    name = "tether_contexts_done_total"
    assert said[name, "GET /unseen", "deadline_exceeded"] == 1
    assert said[name, "GET /unseen", "parent"] == 1
    assert said[name, "GET /unseen", "left"] == 1


def test_the_count_of_ends_never_goes_back(registry: CollectorRegistry) -> None:
    over = threading.Event()

    def work() -> None:
        root = background().with_value(LABEL, "GET /steady")
        kept = []
        for n in range(20_000):
            with root.with_cancel() as scope:
                kept.append(scope)
            if n % 100 == 0:
                kept.clear()
        over.set()

    key = ("tether_contexts_done_total", "GET /steady", "left")
    worker = threading.Thread(target=work)
    worker.start()
    seen = [0.0]
    while not over.is_set():
        seen.append(scrape(registry).get(key, 0.0))
    worker.join()
    assert seen == sorted(seen)
    assert scrape(registry)[key] == 20_000


def test_one_that_goes_during_a_scrape_is_counted_once() -> None:
    ends = _ends.Ends(_names.Names(100))
    with background().with_cancel(label="GET /going") as going:
        pass
    ends.dropped(going)  # its finalizer has told, and has not returned
    assert ends.all([going])["GET /going", "left"] == 1
    assert ends.all([])["GET /going", "left"] == 1


def test_a_chain_of_many_contexts_is_dropped_at_once(
    registry: CollectorRegistry,
) -> None:
    top = background().with_cancel(label="GET /deep")
    ctx = top
    for _ in range(100_000):
        ctx = ctx.with_cancel()
    top.cancel()
    del ctx, top
    said = scrape(registry)
    assert said["tether_contexts_live", "GET /deep"] == 0
    assert said["tether_contexts_done_total", "GET /deep", "parent"] == 100_000


def test_tasks_of_loops_are_counted_by_what_they_work_for(
    registry: CollectorRegistry,
) -> None:
    async def main() -> Samples:
        never = asyncio.Event()
        with background().with_cancel(label="GET /forgotten"):
            tasks = [asyncio.create_task(never.wait()) for _ in range(7)]
        try:
            return await asyncio.to_thread(scrape, registry)
        finally:
            never.set()
            await asyncio.wait(tasks)

    said = asyncio.run(main())
    assert said["tether_asyncio_tasks", "GET /forgotten"] == 7
    assert said["tether_contexts_live", "GET /forgotten"] == 1
    assert said["tether_contexts_overdue", "GET /forgotten"] == 0  # its block is left
    assert scrape(registry)["tether_asyncio_tasks", "GET /forgotten"] == 0


def test_a_scrape_keeps_nothing(registry: CollectorRegistry) -> None:
    # A frame that is looked at can lead back to itself, and to all that is in it.
    gc.disable()
    try:
        scope = background().with_cancel(label="GET /once")
        scrape(registry)
        scope.cancel()
        del scope
        assert scrape(registry)["tether_contexts_live", "GET /once"] == 0
    finally:
        gc.enable()


def test_a_scrape_of_many_contexts_sets_off_no_garbage_collection(
    registry: CollectorRegistry,
) -> None:
    # So many new objects as there are contexts would, and a full one stops the program.
    collections: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        collections.append(phase)

    scopes = [background().with_cancel(label="GET /many") for _ in range(20_000)]
    for scope in scopes[:10_000]:
        scope.cancel()
    thresholds = gc.get_threshold()
    gc.collect()
    gc.set_threshold(10_000, *thresholds[1:])
    gc.callbacks.append(note)
    try:
        said = scrape(registry)
    finally:
        gc.callbacks.remove(note)
        gc.set_threshold(*thresholds)
        for scope in scopes:
            scope.cancel()
    assert said["tether_contexts_live", "GET /many"] == 20_000
    assert collections == []


def test_what_a_full_group_refuses_is_counted_by_whose_it_was(
    registry: CollectorRegistry,
) -> None:
    go_on = threading.Event()

    def work(_: Context) -> None:
        go_on.wait(10.0)

    with background().with_cancel(label="POST /orders") as request:
        detached = WaitGroup(background(), limit=1)
        assert detached.try_go_with(request, work) is not None
        assert detached.try_go_with(request, work) is None
        assert detached.try_go(work) is None
        with (
            background().with_cancel(label="GET /page") as page,
            Group(page, 1) as group,
        ):
            group.go(work)
            assert group.try_go(work) is None
            go_on.set()
        detached.drain(background())
    said = scrape(registry)
    assert said["tether_work_shed_total", "POST /orders"] == 1
    assert said["tether_work_shed_total", "none"] == 1
    assert said["tether_work_shed_total", "GET /page"] == 1


def test_what_is_left_behind_is_counted_for_good(registry: CollectorRegistry) -> None:
    go_on = threading.Event()

    def stuck(_: Context, scope: Scope) -> None:
        scope.cancel()
        go_on.wait(10.0)

    async def main() -> Samples:
        with pytest.raises(Canceled):
            with background().with_cancel(label="GET /stuck") as ctx:
                await to_thread(ctx, stuck, ctx, abandon=True)
        return scrape(registry)

    during = asyncio.run(main())
    assert during["tether_work_abandoned_total", "GET /stuck"] == 1
    assert during["tether_threads_abandoned", ""] >= 1
    go_on.set()
    assert scrape(registry)["tether_work_abandoned_total", "GET /stuck"] == 1


# -- calls that begin too late --------------------------------------------------------


def ask_sync(ctx: Context, url: str) -> None:
    with Client() as http:
        http.get(ctx, url)


def ask_with_requests(ctx: Context, url: str) -> None:
    with Session() as http:
        http.get(ctx, url)


def ask_async(ctx: Context, url: str) -> None:
    async def main() -> None:
        async with AsyncClient() as http:
            await http.get(ctx, url)

    asyncio.run(main())


def ask_with_aiohttp(ctx: Context, url: str) -> None:
    async def main() -> None:
        async with ClientSession() as http, http.get(ctx, url) as response:
            await response.read()

    asyncio.run(main())


@pytest.mark.parametrize(
    "ask", [ask_sync, ask_async, ask_with_requests, ask_with_aiohttp]
)
def test_a_call_that_begins_with_less_than_it_takes_is_told(
    ask: Callable[[Context, str], None],
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = _clock.now
    ahead = [0.0]
    with upstream() as server, pytest.MonkeyPatch.context() as patch:
        # The answer takes fifty seconds of a clock that nobody has to wait for.
        patch.setattr(_clock, "now", lambda: now() + ahead[0])
        server.on("/ok", lambda: ahead.append(ahead.pop() + 50.0))
        url, hop = f"{server.url}/ok", f"GET {server.host}:{server.port}"
        for _ in range(_hops.LEAST):
            ask(background(), url)
        with background().with_timeout(500.0, label="GET /page") as ctx:
            ask(ctx, url)
        assert ("tether_deadline_cascade_total", hop) not in scrape(registry)
        for _ in range(3):
            with suppress(ContextError):
                with background().with_timeout(25.0, label="GET /page") as ctx:
                    ask(ctx, url)
    said = scrape(registry)
    assert said["tether_call_usual_seconds", hop] >= 50.0
    assert said["tether_deadline_cascade_total", hop] == 3
    lines = [one.getMessage() for one in caplog.records if one.name == "tether"]
    assert f"{hop} has " in lines[0]
    assert "of GET /page; 1 such calls" in lines[0]


def test_calls_that_are_cut_do_not_count_as_short(registry: CollectorRegistry) -> None:
    hop = _hops.Hops(9, Counter("cut", "", ["hop"], registry=None))
    with VirtualClock() as clock:
        for seconds, outcome in [(1.0, None)] * 20 + [(0.01, Canceled())] * 200:
            ended = hop.begun(background(), "GET", "http://u:secret@users:80/7")
            clock.advance(seconds)
            ended(outcome)
        for _ in range(200):
            hop.begun(background(), "GET", "http://users:80/7")(OSError("refused"))
    assert hop.usual() == [("GET users:80", 1.0)]


def test_the_hops_beyond_the_limit_have_no_usual_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cascade = Counter("many", "", ["hop"], registry=None)
    hops = _hops.Hops(1, cascade)
    with VirtualClock() as clock, background().with_timeout(1.0) as ctx:
        for n in range(50):
            ended = hops.begun(background(), "GET", f"http://host-{n}/")
            clock.advance(0.1)
            ended(None)
            hops.begun(ctx, "GET", f"http://host-{n}/")
    assert hops.usual() == []
    assert caplog.records == []


def test_a_line_about_a_hop_comes_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hops = _hops.Hops(9, Counter("late", "", ["hop"], registry=None))
    with VirtualClock() as clock:
        for _ in range(_hops.LEAST):
            ended = hops.begun(background(), "GET", "http://users/")
            clock.advance(1.0)
            ended(None)
        for _ in range(5):
            with background().with_timeout(0.5) as ctx:
                hops.begun(ctx, "GET", "http://users/")
        clock.advance(61.0)
        with background().with_timeout(0.5) as ctx:
            hops.begun(ctx, "GET", "http://users/")
    lines = [one.getMessage() for one in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("a call begins with less time than it takes: GET users")
    assert lines[1].endswith("; 5 such calls since the last line")


def test_a_served_application_is_scraped(registry: CollectorRegistry) -> None:
    metrics: Any = make_asgi_app(registry, disable_compression=True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            current().remaining()  # so that the request has its context
            await metrics(scope, receive, send)

    with serve(ContextMiddleware(app, timeout=20.0)) as served:
        for _ in range(2):
            answer = httpx.get(f"http://127.0.0.1:{served.port}/metrics")
    said = samples(answer.text)
    assert answer.status_code == 200
    assert said["tether_contexts_live", "GET /metrics"] >= 1
    assert said["tether_contexts_overdue", "GET /metrics"] == 0


def test_nothing_is_left_when_it_is_off() -> None:
    registry = CollectorRegistry()
    made = _live.made
    undo = instrument(registry)
    undo()
    undo()
    assert generate_latest(registry) == b""
    hooks = [name for name in vars(_watching) if name in _watching.__annotations__]
    assert len(hooks) == 7
    assert {getattr(_watching, hook) for hook in hooks} == {None}
    assert _live.made is made
    instrument(registry)()


def test_it_is_on_once(registry: CollectorRegistry) -> None:
    with pytest.raises(RuntimeError, match="on already"):
        instrument(CollectorRegistry())
    with pytest.raises(ValueError, match="roots is 0"):
        instrument(roots=0)


def test_a_name_that_is_taken_leaves_nothing_behind() -> None:
    from prometheus_client import Gauge

    registry = CollectorRegistry()
    Gauge("tether_threads_abandoned", "of somebody else", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        instrument(registry)
    assert "tether_call_budget" not in generate_latest(registry).decode()
    assert _watching.calling is None


def test_a_missing_library_is_named_with_the_cure() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import tether.ext.prometheus"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert 'pip install "tether[prometheus]"' in done.stderr


def test_calls_are_added_up_over_processes(tmp_path: Path) -> None:
    call = """
from tether import background
from tether.ext.prometheus import instrument
from tether.wire import Outbound
instrument()
Outbound().write(background(), {})
"""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", call], env=env, check=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert scrape(registry)["tether_calls_without_deadline_total", "service"] == 2


def test_a_context_that_fails_does_not_fail_the_scrape(
    registry: CollectorRegistry,
) -> None:
    class Failing(Root):
        def value(self, key: Any, default: Any = None) -> Any:
            if key is LABEL:
                raise ValueError("no value")
            return super().value(key, default)

    with Failing().with_cancel():
        assert scrape(registry)["tether_contexts_live", "none"] >= 1
