"""tether.ext.prometheus: what a scrape says, and that it can be switched off."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from tests.core.support import Root
from tests.ext.serving import serve
from tests.ext.upstream import upstream
from tether import Canceled, Group, _live, _watching, background, current
from tether._describe import LABEL
from tether.ext.asgi import ContextMiddleware
from tether.ext.httpx import Client
from tether.ext.prometheus import instrument
from tether.ext.sqlite import fetch_all
from tether.testing import VirtualClock

Samples = dict[tuple[str, str], float]


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
        (
            sample.name,
            sample.labels.get("root", sample.labels.get("le", "")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


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


def test_what_is_over_and_still_there_is_overdue(registry: CollectorRegistry) -> None:
    with VirtualClock() as clock:
        scope = background().with_timeout(1.0, label="GET /slow")
        clock.advance(2.0)
        assert scrape(registry)["tether_contexts_overdue", "GET /slow"] == 1
        del scope
        said = scrape(registry)
    assert said["tether_contexts_live", "GET /slow"] == 0


def test_a_label_made_of_ids_does_not_make_a_series_each() -> None:
    registry = CollectorRegistry()
    undo = instrument(registry, roots=3)
    scopes = [background().with_cancel(label=f"GET /users/{n}") for n in range(50)]
    said = scrape(registry)
    undo()
    for scope in scopes:
        scope.cancel()
    live = [root for name, root in said if name == "tether_contexts_live"]
    assert len(live) == 4
    assert said["tether_contexts_live", "other"] >= 47


def test_a_call_tells_what_it_begins_with(registry: CollectorRegistry) -> None:
    with upstream() as server, Client() as http:
        with background().with_timeout(20.0) as ctx:
            http.get(ctx, f"{server.url}/ok")
        http.get(background(), f"{server.url}/ok")
    said = scrape(registry)
    assert said["tether_call_budget_seconds_count", ""] == 1
    assert 0.0 < said["tether_call_budget_seconds_sum", ""] <= 20.0
    assert said["tether_call_budget_seconds_bucket", "30.0"] == 1
    assert said["tether_calls_without_deadline_total", ""] == 1


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
    assert (_watching.calling, _watching.released) == (None, None)
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
    assert scrape(registry)["tether_calls_without_deadline_total", ""] == 2


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
