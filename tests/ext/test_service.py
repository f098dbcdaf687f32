"""Service: the stop in order, in applications that a plain server has started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.core.support import LONG
from tests.ext.service_processes import APPS, BY_SIGTERM, plain_uvicorn, process
from tests.ext.serving import get, read, serve, until
from tether import background, current
from tether.ext.asgi import ContextMiddleware, Service

STOPPING = b"The service is stopping.\n"
STACKS = [("httptools", "uvloop"), ("h11", "asyncio")]


# -- under plain servers -------------------------------------------------------------


@pytest.mark.parametrize(("http", "loop"), STACKS)
def test_plain_uvicorn_stops_in_order(tmp_path: Path, http: str, loop: str) -> None:
    options = ("--http", http, "--loop", loop)
    with plain_uvicorn(tmp_path, *options, times="drain=3,grace=60") as served:
        assert served.answer("/readyz") == (200, b"ready\n")
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            served.process.send_signal(signal.SIGTERM)
            until(lambda: served.answer("/readyz")[0] == 503, "not ready", LONG)
            assert served.answer("/quick") == (200, b'"quick"')
            served.until_deaf()
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == BY_SIGTERM
    assert served.said == ["up", "gated", "gated over", "down"]
    assert "Traceback" not in served.log


def test_plain_uvicorn_waits_for_what_it_cancels_before_the_lifespan_ends(
    tmp_path: Path,
) -> None:
    with plain_uvicorn(tmp_path, times="drain=0,grace=0.2,hard=30") as served:
        with served.ask(get("/slow")) as request, served.ask(get("/events")) as events:
            served.until_said("slow")
            assert events.recv(65536)
            served.process.send_signal(signal.SIGTERM)
            assert read(request) == (503, STOPPING)
            while events.recv(65536):
                pass
        assert served.end() == BY_SIGTERM
    assert served.said[-1] == "down"
    assert "slow over: SIGTERM received" in served.said
    assert "events over: SIGTERM received" in served.said
    assert "2 still running" in served.log


def test_uvicorns_own_limit_does_not_let_the_lifespan_end_too_early(
    tmp_path: Path,
) -> None:
    # It cancels its tasks and asks for the end of the lifespan in the same breath.
    options = ("--timeout-graceful-shutdown", "0")
    with plain_uvicorn(tmp_path, *options, times="drain=0,grace=60") as served:
        with served.ask(get("/slow")):
            served.until_said("slow")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == BY_SIGTERM
    assert [line.partition(":")[0] for line in served.said] == [
        "up",
        "slow",
        "slow over",
        "down",
    ]


def test_plain_uvicorn_is_left_if_it_waits_for_what_does_not_end(
    tmp_path: Path,
) -> None:
    with plain_uvicorn(tmp_path, times="drain=0,grace=0.1,hard=0.1") as served:
        with served.ask(get("/stuck")):
            served.until_said("stuck")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 143
    assert served.said == ["up", "stuck", "down"]
    assert "leaving with status 143:\n  GET /stuck" in served.log


def test_plain_uvicorn_is_left_if_it_waits_for_a_client_that_does_not_read(
    tmp_path: Path,
) -> None:
    with plain_uvicorn(tmp_path, times="drain=0,grace=0.1,hard=0.1") as served:
        with served.ask(get("/flood")):
            served.until_said("flood")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 143
    assert served.said == ["up", "flood", "down"]
    assert "status 143:\n  the server, which waits for connections" in served.log


def test_a_second_signal_leaves_plain_uvicorn_at_once(tmp_path: Path) -> None:
    with plain_uvicorn(tmp_path, times="drain=3600") as served:
        served.process.send_signal(signal.SIGTERM)
        until(lambda: served.answer("/readyz")[0] == 503, "not ready", LONG)
        served.process.send_signal(signal.SIGINT)
        assert served.end() == 130
    assert served.said == ["up"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_workers_of_plain_uvicorn(tmp_path: Path, signum: signal.Signals) -> None:
    options = ("--workers", "2")
    with plain_uvicorn(tmp_path, *options, times="drain=0,grace=60") as served:
        served.until_said("up", times=2)
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            os.killpg(served.process.pid, signum)  # as a terminal, or systemd
            until(lambda: "Waiting for child" in served.log, "passed on", LONG)
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0
    assert served.said.count("down") == 2


def test_gunicorn_with_uvicorns_worker(tmp_path: Path) -> None:
    command = (
        *("gunicorn", f"{APPS}:app", "-b", "127.0.0.1:PORT", "--no-control-socket"),
        *("-k", "uvicorn.workers.UvicornWorker", "-w", "2"),
    )
    with process(tmp_path, *command, times="drain=0,grace=60") as served:
        served.until_said("up", times=2)
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            os.killpg(served.process.pid, signal.SIGTERM)  # as systemd does
            served.until_deaf()
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0
    assert served.said.count("down") == 2


@pytest.mark.parametrize("app", ["raises", "returns", "confuses", "leaves_early"])
def test_an_application_that_knows_no_lifespan(tmp_path: Path, app: str) -> None:
    command = ("tether", "serve", f"{APPS}:{app}", "--port", "PORT", "--no-access-log")
    with process(tmp_path, *command, "--drain", "0", "--grace", "60") as served:
        until(served.listens, "it listens", LONG)
        with served.ask(get("/gated")) as request:
            served.until_said("/gated")
            served.process.send_signal(signal.SIGTERM)
            served.until_deaf()
            served.open_gate()
            assert read(request) == (200, b"answer")
        assert served.end() == 0


# -- without signals -------------------------------------------------------------------


async def page(request: Request) -> Response:
    return PlainTextResponse(str(current().done()))


def pages(**arguments: Any) -> Service:
    app = Starlette(routes=[Route("/page", page), Route("/v1/page", page)])
    return Service(app, **arguments)


def test_it_is_ready_for_as_long_as_nothing_stops_it() -> None:
    service = pages()
    for _ in range(2):
        with TestClient(service) as client:
            assert client.get("/readyz").text == "ready\n"
            assert client.get("/page").text == "False"
            assert service.ready
        assert not service.ready


def test_without_lifespan_events_it_is_the_application_it_was() -> None:
    client = TestClient(pages())
    assert client.get("/readyz").status_code == 200
    assert client.get("/page").text == "False"


def test_the_handlers_of_a_program_that_has_no_server_are_left_alone() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    async def main() -> None:
        events: asyncio.Queue[MutableMapping[str, object]] = asyncio.Queue()
        sent: list[dict[str, str]] = []

        async def send(message: Any) -> None:
            sent.append(message)
            now = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
            assert all(not isinstance(one, type(Service.in_flight)) for one in now)
            if message["type"] == "lifespan.startup.complete":
                await events.put({"type": "lifespan.shutdown"})

        await events.put({"type": "lifespan.startup"})
        await pages()({"type": "lifespan"}, events.get, send)
        assert [one["type"] for one in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    asyncio.run(main())
    after = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    assert before == after


def test_a_server_in_a_thread_stops_in_order_without_signals() -> None:
    done: list[str] = []

    async def later() -> None:
        await asyncio.sleep(0.1)
        done.append("later")

    async def work(request: Request) -> Response:
        from starlette.background import BackgroundTask

        return PlainTextResponse("ok", background=BackgroundTask(later))

    service = Service(Starlette(routes=[Route("/", work)]))
    with serve(service) as served:
        assert served.answer(get("/")) == (200, b"ok")
    assert done == ["later"]


def test_a_startup_that_fails_stays_a_failure() -> None:
    class DownError(Exception):
        pass

    async def lifespan(app: Starlette) -> Any:
        raise DownError
        yield

    from contextlib import asynccontextmanager

    service = Service(Starlette(lifespan=asynccontextmanager(lifespan)))
    with pytest.raises(DownError):
        with TestClient(service):
            pass


def test_a_lifespan_that_fails_in_the_middle_stays_a_failure() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with TestClient(Service(app)):
            pass


def test_requests_are_derived_from_the_base_of_the_middleware() -> None:
    with background().with_cancel() as base:
        service = Service(ContextMiddleware(pages().app.app, base=base))
        with TestClient(service) as client:
            assert client.get("/page").text == "False"
            base.cancel()
            assert client.get("/page").status_code == 503


def test_the_probe_is_found_below_the_path_where_the_application_is_mounted() -> None:
    client = TestClient(pages(), root_path="/v1")
    assert client.get("/v1/readyz").text == "ready\n"
    assert client.get("/readyz").text == "ready\n"
    assert TestClient(pages(readyz=None)).get("/readyz").status_code == 404


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"app": 7}, TypeError, "app is an ASGI application, not 7"),
        ({"drain": -1}, ValueError, "drain is a number of seconds, 0 or more, not -1"),
        ({"grace": "1"}, TypeError, "grace is a number of seconds, not '1'"),
        ({"hard": float("nan")}, ValueError, "hard is not a number (NaN)"),
        ({"detached": None}, TypeError, "detached is a number of seconds, not None"),
        ({"readyz": "ready"}, ValueError, "readyz is a path, as /readyz, or None"),
    ],
)
def test_bad_arguments(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"app": Starlette(), **arguments}
    with pytest.raises(error) as caught:
        Service(given.pop("app"), **given)
    assert message in str(caught.value)
