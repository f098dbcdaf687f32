"""What all clients for threads promise, against a real server that answers badly."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.core.support import start
from tests.ext.calling import IN_THREADS, client, drop_in, own_errors
from tests.ext.upstream import Authority, Upstream, deaf, upstream
from tether import Canceled, DeadlineExceeded, Key, background
from tether.wire import REQUEST_ID

# Real time: long enough for a server in the next thread, and no promise.
SOON = 0.2
LONG_BEFORE = 10.0

STUCK = ["/hang", "/half", "/drip", "/until-close", "/chunks"]

TENANT: Key[str] = Key("tenant", wire="x-test-tenant")

pytestmark = pytest.mark.parametrize("name", IN_THREADS)


@contextmanager
def quick() -> Iterator[None]:
    """Fail if it takes as long as the server, or the library's own timeout."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG_BEFORE


@pytest.mark.parametrize("path", STUCK)
def test_a_call_that_is_stuck_ends_with_its_deadline(
    name: str, path: str, any_up: Upstream, authority: Authority
) -> None:
    with client(name, authority) as get:
        assert get(background(), any_up.url + "/ok") == b"ok"
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded) as caught:
                get(ctx, any_up.url + path)
        assert caught.value.ctx is ctx
        cause = caught.value.__cause__
        # There is none if it ended between two pieces, where the library has no part.
        assert isinstance(cause, own_errors(name)) or (cause is None and "drip" in path)
        any_up.left(path)
        # The pool of one has a place, and not for the connection that was cut.
        with background().with_timeout(LONG_BEFORE) as ctx:
            assert get(ctx, any_up.url + "/ok") == b"ok"
        assert any_up.connections == 2


@pytest.mark.parametrize("path", STUCK)
def test_a_call_that_is_stuck_ends_when_another_thread_cancels(
    name: str, path: str, any_up: Upstream, authority: Authority
) -> None:
    why = KeyError("why")
    with client(name, authority) as get, background().with_cancel() as ctx:
        call = start(get, ctx, any_up.url + path)
        any_up.asked(path)
        ctx.cancel(why)
        error = call.exception(LONG_BEFORE)
        assert isinstance(error, Canceled)
        assert error.ctx is ctx
        any_up.left(path)
        chain: list[BaseException] = [error]
        while chain[-1].__cause__ is not None:
            chain.append(chain[-1].__cause__)
        assert chain[-1] is why
        assert get(background(), any_up.url + "/ok") == b"ok"


def test_nothing_is_sent_when_it_is_over(
    name: str, up: Upstream, authority: Authority
) -> None:
    ctx = background().with_cancel()
    ctx.cancel()
    with client(name, authority) as get:
        with pytest.raises(Canceled):
            get(ctx, up.url + "/ok")
    assert up.connections == 0


def test_the_drop_in_follows_the_block_around_it(
    name: str, any_up: Upstream, authority: Authority
) -> None:
    with drop_in(name, authority) as get:
        assert get(any_up.url + "/ok") == b"ok"
        for path in STUCK:
            with quick(), background().with_timeout(SOON) as ctx:
                with pytest.raises(DeadlineExceeded) as caught:
                    get(any_up.url + path)
            assert caught.value.ctx is ctx
            assert get(any_up.url + "/ok") == b"ok"


def test_the_librarys_own_errors_pass(name: str, authority: Authority) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        with client(name, authority) as get, background().with_timeout(60.0) as ctx:
            with pytest.raises(own_errors(name)):
                get(ctx, url)


def test_a_name_that_does_not_exist_is_the_librarys_error(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(host: str, port: int, *args: Any, **kw: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with client(name, authority) as get, background().with_timeout(60.0) as ctx:
        with pytest.raises(own_errors(name)):
            get(ctx, "http://nobody.invalid/")


def test_the_wait_for_a_full_listener_ends(name: str, authority: Authority) -> None:
    with client(name, authority) as get, deaf() as port:
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded) as caught:
                get(ctx, f"http://127.0.0.1:{port}/")
        assert isinstance(caught.value.__cause__, own_errors(name))
        with background().with_cancel() as scope:
            call = start(get, scope, f"http://127.0.0.1:{port}/")
            time.sleep(SOON)  # until it is most likely in there
            scope.cancel()
            assert isinstance(call.exception(LONG_BEFORE), Canceled)


def test_a_handshake_that_is_not_answered_ends(name: str, authority: Authority) -> None:
    """The server takes the connection, and does not speak TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://localhost:{listener.getsockname()[1]}/"
        with client(name, authority) as get:
            with quick(), background().with_timeout(SOON) as ctx:
                with pytest.raises(DeadlineExceeded):
                    get(ctx, url)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(LONG_BEFORE)
            while connection.recv(65536):  # until it has heard that we left
                pass


def answers(*addresses: tuple[str, int]) -> Callable[..., Any]:
    """A resolver that knows one more name: shop.test."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kw: Any) -> Any:
        if host not in {"shop.test", b"shop.test"}:
            return real(host, port, *args, **kw)
        if kw.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", address) for address in addresses]

    return getaddrinfo


def test_the_second_address_is_tried_while_the_first_hangs(
    name: str, up: Upstream, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deaf("127.0.0.2", up.port), client(name, authority) as get:
        addresses = [("127.0.0.2", up.port), ("127.0.0.1", up.port)]
        monkeypatch.setattr(socket, "getaddrinfo", answers(*addresses))
        with background().with_timeout(LONG_BEFORE) as ctx:
            assert get(ctx, f"http://shop.test:{up.port}/ok") == b"ok"


def test_all_addresses_together_have_one_budget(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        deaf("127.0.0.2") as port,
        deaf("127.0.0.3", port),
        client(name, authority) as get,
    ):
        addresses = [("127.0.0.2", port), ("127.0.0.3", port)] * 20
        monkeypatch.setattr(socket, "getaddrinfo", answers(*addresses))
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded):
                get(ctx, f"http://shop.test:{port}/")


def test_a_name_server_that_is_silent_does_not_hold_the_caller(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(host: Any, port: Any, *args: Any, **kw: Any) -> Any:
        if kw.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        asked.set()
        answer.wait(LONG_BEFORE)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with client(name, authority) as get:
            with quick(), background().with_timeout(SOON) as ctx:
                with pytest.raises(DeadlineExceeded):
                    get(ctx, "http://shop.test/")
            assert asked.is_set()
    finally:
        answer.set()


def test_the_wait_for_the_only_connection_ends(
    name: str, up: Upstream, authority: Authority
) -> None:
    with client(name, authority) as get, background().with_cancel() as holder:
        holding = start(get, holder, up.url + "/hang")
        up.asked("/hang")
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded):
                get(ctx, up.url + "/ok")
        with background().with_cancel() as scope:
            call = start(get, scope, up.url + "/ok")
            time.sleep(SOON)
            scope.cancel()
            assert isinstance(call.exception(LONG_BEFORE), Canceled)
        patient = start(get, background(), up.url + "/ok")
        holder.cancel()
        assert isinstance(holding.exception(LONG_BEFORE), Canceled)
        assert patient.result(LONG_BEFORE) == b"ok"
    assert up.requests.count("/ok") == 1


def test_redirects_ask_the_context(
    name: str, up: Upstream, authority: Authority
) -> None:
    with client(name, authority) as get, background().with_cancel() as ctx:
        up.on("/again?3", ctx.cancel)
        with pytest.raises(Canceled):
            get(ctx, up.url + "/again")
    assert up.requests == ["/again", "/again?1", "/again?2", "/again?3"]


def test_the_deadline_and_the_declared_values_go_along(
    name: str, up: Upstream, authority: Authority
) -> None:
    with client(name, authority) as get:
        ctx = (
            background().with_value(REQUEST_ID, "7d1").with_value(TENANT, "Zoë\r\nX: y")
        )
        with ctx.with_timeout(30.0) as scope:
            first = json.loads(get(scope, up.url + "/echo"))
            time.sleep(0.01)
            second = json.loads(get(scope, up.url + "/echo"))
        third = json.loads(get(background(), up.url + "/echo"))
    assert first["x-request-id"] == "7d1"
    assert first["x-test-tenant"] == "Zo%C3%AB%0D%0AX:%20y"
    left = [int(head["x-request-timeout-ms"]) for head in (first, second)]
    assert 30_000 > left[0] >= left[1] + 10 > 20_000
    assert not {"x-request-id", "x-test-tenant", "x-request-timeout-ms"} & third.keys()


def test_a_blocking_call_on_the_loops_thread_is_refused(
    name: str, up: Upstream, authority: Authority
) -> None:
    async def main() -> None:
        with client(name, authority) as get, background().with_timeout(9.0) as ctx:
            with pytest.raises(RuntimeError, match="event loop"):
                get(ctx, up.url + "/ok")
        with drop_in(name, authority) as get_plainly, background().with_cancel():
            with pytest.raises(RuntimeError, match="event loop"):
                get_plainly(up.url + "/ok")

    asyncio.run(main())


def test_what_is_not_a_context_is_refused(
    name: str, up: Upstream, authority: Authority
) -> None:
    wrong: Any = up.url + "/ok"
    with client(name, authority) as get:
        with pytest.raises(TypeError, match="context first"):
            get(wrong, wrong)


@pytest.mark.stress
def test_a_late_end_never_hits_the_next_request(
    name: str, authority: Authority
) -> None:
    """Deadlines around the moment of the answer; every other call must be whole."""
    over = 0
    with upstream() as up, client(name, authority) as get:
        url = up.url + "/ok"
        get(background(), url)
        for n in range(300):
            try:
                with background().with_timeout(0.0002 + n % 30 * 0.0001) as ctx:
                    assert get(ctx, url) == b"ok"
            except DeadlineExceeded:
                over += 1
            assert get(background(), url) == b"ok"
    assert over > 0
