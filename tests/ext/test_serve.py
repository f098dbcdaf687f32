"""`tether serve`: real processes, real signals, real sockets."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from demo.processes import free_ports
from tests.core.support import LONG
from tests.ext.service_processes import Process, serving
from tests.ext.serving import get, read, until

POST = b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
STOPPING = b"The service is stopping.\n"
AT_ONCE = ("--drain", "0", "--grace", "0.2")
WITH_PATIENCE = ("--drain", "0", "--grace", "60")


def order(served: Process, *lines: str) -> bool:
    """Whether it has said these, in this order."""
    places = [served.said.index(line) for line in lines]
    return places == sorted(places)


# -- the order ---------------------------------------------------------------------


def test_first_it_is_not_ready_then_deaf_then_it_waits_and_then_it_ends(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--drain", "3", "--grace", "60") as served:
        assert served.answer("/readyz") == (200, b"ready\n")
        with served.ask(get("/gated")) as request, served.ask(b"") as early:
            served.until_said("gated")
            served.process.send_signal(signal.SIGTERM)
            until(lambda: served.answer("/readyz")[0] == 503, "not ready", LONG)
            assert served.answer("/quick") == (200, b'"quick"')
            served.until_deaf()
            early.sendall(get("/quick"))  # accepted before
            assert read(early) == (200, b'"quick"')
            assert "down" not in served.said
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0
    assert served.said == ["up", "gated", "gated over", "down"]
    assert "still running" not in served.log
    assert "Traceback" not in served.log


def test_it_caps_what_a_caller_asks_for(tmp_path: Path) -> None:
    ask = get("/left", "x-request-timeout-ms: 90000")
    with serving(tmp_path, "--max-timeout", "40", *AT_ONCE) as served:
        assert served.answer("/left", "x-request-timeout-ms: 90000") == (200, b"40")
        assert served.answer("/left", "x-request-timeout-ms: 20000") == (200, b"20")
        assert served.answer("/left", "x-request-timeout-ms: 1")[0] == 504
        with served.ask(ask) as connection:
            assert b"x-request-id: " in connection.recv(65536)


def test_the_part_of_a_next_request_does_not_keep_a_connection(tmp_path: Path) -> None:
    options = ("--drain", "0", "--grace", "60", "--header-timeout", "3600")
    with serving(tmp_path, *options) as served:
        both = b"GET /gated HTTP/1.1\r\nHost: test\r\n\r\nGET /quick HTTP/1.1\r\nHo"
        with served.ask(both) as connection:
            served.until_said("gated")
            served.process.send_signal(signal.SIGTERM)
            served.until_deaf()
            served.open_gate()
            received = b""
            while piece := connection.recv(65536):
                received += piece
            assert b"connection: close" in received
        assert served.end() == 0


def test_a_response_during_the_drain_sends_its_client_elsewhere(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "3", "--grace", "60") as served:
        served.process.send_signal(signal.SIGTERM)
        until(lambda: served.answer("/readyz")[0] == 503, "not ready", LONG)
        with served.ask(b"GET /quick HTTP/1.1\r\nHost: test\r\n\r\n") as connection:
            received = b""
            while piece := connection.recv(65536):  # until it is closed
                received += piece
        assert received.count(b"connection: close") == 1
        assert served.end() == 0


def test_who_is_not_ready_in_time_is_canceled_named_and_still_waited_for(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, *AT_ONCE, "--hard", "30") as served:
        with served.ask(get("/slow")) as request:
            served.until_said("slow")
            served.process.send_signal(signal.SIGTERM)
            assert read(request) == (503, STOPPING)
        assert served.end() == 0
    assert order(served, "slow over: SIGTERM received", "down")
    assert "1 still running" in served.log
    assert "after SIGTERM; canceling what is left:\n  GET /slow, task " in served.log
    assert re.search(r"ext/service_apps.py:\d+ in slow$", served.log, re.MULTILINE)
    assert "Traceback" not in served.log


def test_ctrl_c_does_the_same_without_the_drain(tmp_path: Path) -> None:
    with serving(tmp_path, "--drain", "3600", "--grace", "0") as served:
        with served.ask(get("/slow")) as request:
            served.until_said("slow")
            served.process.send_signal(signal.SIGINT)
            assert read(request) == (503, STOPPING)
        assert served.end() == 0
    assert order(served, "slow over: SIGINT received", "down")


# -- each kind of work ---------------------------------------------------------------


def test_an_endless_stream_of_events_ends(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE) as served:
        with served.ask(get("/events")) as request:
            assert b"200 OK" in request.recv(65536)
            served.process.send_signal(signal.SIGTERM)
            while request.recv(65536):
                pass
        assert served.end() == 0
    assert order(served, "events over: SIGTERM received", "down")
    assert "GET /events" in served.log


def test_a_client_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, "--hard", "0.2") as served:
        with served.ask(get("/flood")):
            served.until_said("flood")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 0
    assert served.said[-1] == "down"


def test_a_websocket_is_closed(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE) as served:
        with connect(f"ws://127.0.0.1:{served.port}/socket") as client:
            client.send("hello")
            assert client.recv(LONG) == "hello"
            served.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed):
                client.recv(LONG)
        assert served.end() == 0
    assert order(served, "socket over", "down")


def test_a_plain_function_that_looks_at_its_context_ends(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE) as served:
        with served.ask(get("/thread")) as request:
            served.until_said("thread")
            served.process.send_signal(signal.SIGTERM)
            assert read(request) == (503, STOPPING)
        assert served.end() == 0
    assert order(served, "thread over: SIGTERM received", "down")


def test_one_that_does_not_is_named_and_left_behind(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, "--hard", "0.2") as served:
        with served.ask(get("/stuck")):
            served.until_said("stuck")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 143
    assert served.said[-1] == "down"  # its lifespan has ended even so
    assert "; leaving with status 143:\n  GET /stuck, task " in served.log


def test_a_thread_for_which_the_interpreter_would_wait_is_named_and_left_behind(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, *AT_ONCE, "--hard", "0.2") as served:
        with served.ask(get("/abandoned")) as request:
            served.until_said("abandoned")
            served.process.send_signal(signal.SIGTERM)
            assert read(request) == (503, STOPPING)  # the handler has ended
        assert served.end() == 143
    assert served.said[-1] == "down"
    assert "; leaving with status 143:\n  thread uvloop_0, at " in served.log


def test_what_was_promised_is_kept(tmp_path: Path) -> None:
    with serving(tmp_path, *WITH_PATIENCE) as served:
        with served.ask(POST % b"/payments") as request:
            assert b"202 Accepted" in request.recv(65536)
        with served.ask(POST % b"/mails") as request:
            assert b"202 Accepted" in request.recv(65536)
            served.process.send_signal(signal.SIGTERM)
            served.until_deaf()
            assert "down" not in served.said
            served.open_gate()
            assert served.end() == 0
    assert order(served, "captured", "down")
    assert order(served, "sent", "down")


def test_a_promise_has_its_own_time_after_the_requests(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, "--hard", "0", "--detached", "60") as served:
        with served.ask(POST % b"/payments") as request:
            assert b"202 Accepted" in request.recv(65536)
        served.process.send_signal(signal.SIGTERM)
        until(lambda: "canceling what is left" in served.log, "the grace ends", LONG)
        served.open_gate()
        assert served.end() == 0
    assert order(served, "captured", "down")


def test_a_promise_that_is_broken_is_named(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, "--detached", "0") as served:
        with served.ask(POST % b"/payments") as request:
            assert b"202 Accepted" in request.recv(65536)
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 143
    assert served.said[-1] == "down"
    assert "\n  detached capture [POST /payments], started at " in served.log


# -- signals -------------------------------------------------------------------------


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_leaves_at_once(tmp_path: Path, second: signal.Signals) -> None:
    with serving(tmp_path, *WITH_PATIENCE) as served:
        with served.ask(get("/slow")):
            served.until_said("slow")
            served.process.send_signal(signal.SIGTERM)
            until(lambda: "Waiting for connections" in served.log, "it waits", LONG)
            served.process.send_signal(second)
            assert served.end() == 128 + second
    assert served.logged[-1].endswith("the second signal: leaving at once")
    assert "down" not in served.said


def test_a_signal_that_is_told_twice_is_one(tmp_path: Path) -> None:
    with serving(tmp_path, *WITH_PATIENCE) as served:
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            os.kill(served.process.pid, signal.SIGTERM)
            os.killpg(served.process.pid, signal.SIGTERM)  # as timeout does
            served.until_deaf()
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0


# -- several processes -----------------------------------------------------------------


def test_workers_stop_in_order_and_so_does_their_parent(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--drain", "0", "--grace", "60") as served:
        served.until_said("up", times=2)
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            served.process.send_signal(signal.SIGTERM)
            served.until_deaf()
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0
    assert served.said.count("down") == 2
    assert order(served, "gated", "gated over")
    assert "Traceback" not in served.log


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_reaches_workers_twice_and_counts_once(
    tmp_path: Path, signum: signal.Signals
) -> None:
    with serving(tmp_path, "--workers", "2", "--drain", "0", "--grace", "60") as served:
        served.until_said("up", times=2)
        with served.ask(get("/gated")) as request:
            served.until_said("gated")
            os.killpg(served.process.pid, signum)  # a terminal, systemd
            until(lambda: "Waiting for child" in served.log, "passed on", LONG)
            served.open_gate()
            assert read(request) == (200, b'"gated"')
        assert served.end() == 0
    assert "second signal" not in served.log


def test_a_second_signal_to_the_parent_ends_its_workers(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", *WITH_PATIENCE) as served:
        served.until_said("up", times=2)
        with served.ask(get("/slow")) as request:
            served.until_said("slow")
            served.process.send_signal(signal.SIGTERM)
            until(lambda: "Waiting for connections" in served.log, "it waits", LONG)
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 143
            with pytest.raises(ConnectionError):  # nobody has answered
                assert not request.recv(1)
                raise ConnectionResetError


def test_what_a_worker_has_cut_off_is_the_status_of_the_parent(tmp_path: Path) -> None:
    options = ("--workers", "2", *AT_ONCE, "--hard", "0.2")
    with serving(tmp_path, *options) as served:
        served.until_said("up", times=2)
        with served.ask(get("/stuck")):
            served.until_said("stuck")
            served.process.send_signal(signal.SIGTERM)
            assert served.end() == 143
    assert "GET /stuck" in served.log


# -- heads -----------------------------------------------------------------------------


def test_a_client_that_is_slow_with_its_head_is_cut_off(tmp_path: Path) -> None:
    with serving(tmp_path, "--header-timeout", "0.3") as served:
        with served.ask(b"GET /quick HTTP/1.1\r\nHost: te") as slow:
            assert read(slow) == (408, b"")
        assert served.answer("/quick") == (200, b'"quick"')


# -- what it serves ----------------------------------------------------------------------


def test_the_timeout_is_that_of_a_request(tmp_path: Path) -> None:
    with serving(tmp_path, "--timeout", "0.1", *AT_ONCE) as served:
        assert served.answer("/slow")[0] == 504
        assert served.answer("/quick")[0] == 200


def test_a_factory_is_called(tmp_path: Path) -> None:
    with serving(tmp_path, "--factory", *AT_ONCE, app="make") as served:
        assert served.answer("/quick")[0] == 200


def test_a_middleware_or_a_service_is_taken_as_it_is(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, app="wrapped") as served:
        assert served.answer("/slow")[0] == 504
    with serving(tmp_path, app="app") as served:
        assert served.answer("/readyz") == (200, b"ready\n")


def test_the_probe_may_have_another_path_or_none(tmp_path: Path) -> None:
    with serving(tmp_path, *AT_ONCE, "--readyz", "/up") as served:
        assert served.answer("/up") == (200, b"ready\n")
        assert served.answer("/readyz")[0] == 404
    with serving(tmp_path, *AT_ONCE, "--readyz", "") as served:
        assert served.answer("/readyz")[0] == 404


# -- the live page -------------------------------------------------------------------


def test_the_live_page_is_there_while_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "of sixteen or more"
    monkeypatch.setenv("TETHER_DEBUG_TOKEN", token)
    [page] = free_ports(1)
    where = f"127.0.0.1:{page}"
    with serving(tmp_path, "--debug", where, *AT_ONCE) as served:
        assert f"the live page is at http://{where}/" in served.log
        with served.ask(get("/slow")) as request:
            served.until_said("slow")
            text, known = f"http://{where}/debug/tether.txt", f"Bearer {token}"
            assert httpx.get(text).status_code == 401
            said = httpx.get(text, headers={"Authorization": known}).text
            assert "GET /slow" in said
            served.process.send_signal(signal.SIGTERM)
            assert read(request) == (503, STOPPING)
        assert served.end() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{where}/")


def test_the_live_page_is_on_a_socket_if_it_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with serving(tmp_path, "--debug", str(path), *AT_ONCE) as served:
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport) as client:
            answer = client.get("http://localhost/debug/tether.json")
        assert answer.json()["pid"] == served.process.pid
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
    assert not path.exists()


def test_each_worker_has_its_live_page_on_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with serving(tmp_path, "--workers", "2", "--debug", *AT_ONCE) as served:
        served.until_said("up", times=2)
        pages = sorted((tmp_path / "tether").glob("*.sock"))
        assert len(pages) == 2
        for path in pages:
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
                look = client.get("http://localhost/debug/tether.json").json()
            assert look["pid"] == int(path.stem) != served.process.pid
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
