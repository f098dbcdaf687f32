"""tether.ext.httpx, what is httpx's own: streams, transports, clients that exist."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import httpx
import httpx2
import pytest

from tests.core.support import start
from tests.ext.test_clients_in_threads import LONG_BEFORE, SOON, quick
from tests.ext.upstream import Authority, Upstream, deaf
from tests.loops import Run
from tether import Canceled, DeadlineExceeded, background, current
from tether.ext.httpx import AsyncClient, AsyncTransport, Client, Transport
from tether.wire import REQUEST_ID, Outbound

LIBRARIES: list[Any] = [httpx, httpx2]
library_of_both = pytest.mark.parametrize(
    "library", LIBRARIES, ids=[library.__name__ for library in LIBRARIES]
)


def open_connections(client: Any) -> int:
    """How many connections the pool has, open or opening."""
    return len(client._transport._inner._pool.connections)


@library_of_both
def test_a_stream_is_bound_until_it_is_closed(library: Any, up: Upstream) -> None:
    inner = library.Client(timeout=60.0)
    with Client(inner) as http, background().with_cancel() as ctx:
        with http.stream(ctx, "GET", up.url + "/drip") as response:
            assert response.status_code == 200
            assert current() is ctx  # the block is the user's own
            later = threading.Timer(SOON, ctx.cancel)
            later.start()
            with quick(), pytest.raises(Canceled) as caught:
                for _ in response.iter_raw():
                    pass
        later.join()
        assert caught.value.ctx is ctx
        up.left("/drip")
        assert open_connections(inner) == 0


@library_of_both
def test_a_stream_in_a_task_is_bound_until_it_is_closed(
    library: Any, up: Upstream, run: Run
) -> None:
    async def main() -> None:
        inner = library.AsyncClient(timeout=60.0)
        async with AsyncClient(inner) as http:
            ctx = background().with_cancel()
            async with http.stream(ctx, "GET", up.url + "/drip") as response:
                asyncio.get_running_loop().call_later(SOON, ctx.cancel)
                with quick(), pytest.raises(Canceled) as caught:
                    async for _ in response.aiter_raw():
                        pass
            assert caught.value.ctx is ctx
            await asyncio.to_thread(up.left, "/drip")
            assert open_connections(inner) == 0

    run(main)


@library_of_both
def test_a_stream_that_is_left_early_leaves_nothing(
    library: Any, up: Upstream, run: Run
) -> None:
    with Client(library.Client()) as http, background().with_cancel() as ctx:
        with http.stream(ctx, "GET", up.url + "/drip") as response:
            next(response.iter_raw())
        up.left("/drip")

    async def main() -> None:
        async with AsyncClient(library.AsyncClient()) as http_async:
            ctx = background().with_cancel()
            path = "/drip?async"
            async with http_async.stream(ctx, "GET", up.url + path) as response:
                async for _ in response.aiter_raw():
                    break
            await asyncio.to_thread(up.left, path)
            ctx.cancel()

    run(main)


@library_of_both
def test_send_with_a_stream_outlives_the_call(library: Any, up: Upstream) -> None:
    with Client(library.Client()) as http, background().with_timeout(60.0) as ctx:
        request = http.build_request(ctx, "GET", up.url + "/ok")
        response: Any = http.send(ctx, request, stream=True)
        assert response.read() == b"ok"
        response.close()


@library_of_both
def test_all_verbs_and_options_are_httpxs(library: Any) -> None:
    def echo(request: Any) -> Any:
        assert current() is not background()
        body = request.read().decode()
        query = request.url.query.decode()
        return library.Response(
            200, json=[request.method, query, body, request.headers["x-a"]]
        )

    transport = library.MockTransport(echo)
    inner = library.Client(transport=transport, base_url="http://shop/")
    with Client(inner) as http, background().with_timeout(60.0) as ctx:
        for verb in ("get", "options", "head", "post", "put", "patch", "delete"):
            call = getattr(http, verb)
            response = call(ctx, "/x", params={"n": 1}, headers={"x-a": "b"})
            assert response.json() == [verb.upper(), "n=1", "", "b"]
        response = http.post(
            ctx, "x", content=b"abc", headers={"x-a": "b"}, auth=("u", "p")
        )
        assert response.json()[2] == "abc"
        assert response.request.headers["authorization"].startswith("Basic ")


def test_without_a_client_it_is_httpx_itself(up: Upstream, run: Run) -> None:
    with Client(base_url=up.url) as http, background().with_timeout(60.0) as ctx:
        response = http.get(ctx, "/ok")
        assert isinstance(response, httpx.Response)

    async def main() -> None:
        async with AsyncClient(base_url=up.url) as http_async:
            ctx = background().with_timeout(60.0)
            assert isinstance(await http_async.get(ctx, "/ok"), httpx.Response)
            ctx.cancel()

    run(main)
    with httpx.Client(transport=Transport()) as plain:  # type: ignore[arg-type]
        assert plain.get(up.url + "/ok").text == "ok"


@library_of_both
def test_the_redirect_of_a_stream_and_its_headers_are_made_anew(
    library: Any, up: Upstream
) -> None:
    ctx = background().with_value(REQUEST_ID, "7d1").with_timeout(30.0)
    with Client(library.Client(follow_redirects=True, max_redirects=3)) as http:
        with suppress(library.TooManyRedirects):
            http.get(ctx, up.url + "/again", headers={"x-request-timeout-ms": "1"})
    sent = [int(head["x-request-timeout-ms"]) for head in up.heads]
    assert len(sent) == 4
    assert sent == sorted(sent, reverse=True)
    assert sent[-1] > 1000
    assert {head["x-request-id"] for head in up.heads} == {"7d1"}
    ctx.cancel()


@library_of_both
def test_a_stranger_is_told_nothing(library: Any, up: Upstream) -> None:
    stranger = Outbound(timeout=None, values=False, trace=False)
    ctx = background().with_value(REQUEST_ID, "7d1").with_timeout(30.0)
    with Client(library.Client(), outbound=stranger) as http:
        http.get(ctx, up.url + "/ok")
    assert not {"x-request-id", "x-request-timeout-ms"} & up.heads[0].keys()
    ctx.cancel()


@library_of_both
def test_retries_of_the_connection_end_with_the_context(library: Any) -> None:
    inner = library.HTTPTransport(retries=1000)
    with deaf() as port, library.Client(transport=Transport(inner)) as http:
        with quick(), background().with_timeout(SOON):
            with pytest.raises(DeadlineExceeded):
                http.get(f"http://127.0.0.1:{port}/", timeout=0.01)


@library_of_both
def test_the_clients_own_timeout_is_its_own_error(library: Any, up: Upstream) -> None:
    with Client(library.Client(timeout=60.0)) as http:
        with background().with_timeout(60.0) as ctx:
            with pytest.raises(library.ReadTimeout):
                timeout = library.Timeout(60.0, read=SOON)
                http.get(ctx, up.url + "/hang", timeout=timeout)
            with deaf() as port, pytest.raises(library.ConnectTimeout):
                http.get(ctx, f"http://127.0.0.1:{port}/", timeout=SOON)


@library_of_both
def test_an_upload_that_nobody_reads_ends(library: Any, up: Upstream) -> None:
    with Client(library.Client(timeout=60.0)) as http:
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded):
                http.post(ctx, up.url + "/upload", content=b"x" * 50_000_000)


@library_of_both
def test_http2_in_threads_is_refused(library: Any) -> None:
    pool = library.HTTPTransport()
    pool._pool._http2 = True  # h2 is not installed everywhere
    with pytest.raises(ValueError, match="HTTP/2"):
        Transport(pool)


@library_of_both
def test_a_transport_that_is_none_is_refused(library: Any) -> None:
    wrong: Any = library.Client()
    wrong = object()
    with pytest.raises(TypeError, match="no transport"):
        Transport(wrong)
    with pytest.raises(TypeError, match="no transport"):
        AsyncTransport(wrong)


@library_of_both
def test_one_client_serves_many_threads(library: Any, up: Upstream) -> None:
    with Client(library.Client()) as http:
        barrier = threading.Barrier(8)

        def work(number: int) -> int:
            barrier.wait(LONG_BEFORE)
            over = 0
            for n in range(40):
                timeout = 0.0005 * (n % 8) if (n + number) % 2 else 60.0
                ctx = background().with_timeout(timeout)
                try:
                    response: Any = http.get(ctx, up.url + "/ok")
                    assert response.text == "ok"
                except DeadlineExceeded:
                    assert timeout < 60.0
                    over += 1
                ctx.cancel()
            return over

        counts = [start(work, number) for number in range(8)]
        assert sum(count.result(60.0) for count in counts) > 0
        response: Any = http.get(background(), up.url + "/ok")
        assert response.text == "ok"


@library_of_both
def test_a_proxys_transports_obey_as_well(
    library: Any, up: Upstream, authority: Authority
) -> None:
    """A tunnel that is not answered: CONNECT to a server that hangs."""
    inner = library.Client(proxy=up.url, verify=authority.client, timeout=60.0)
    with Client(inner) as http, quick(), background().with_cancel() as ctx:
        up.on("shop.test:443", ctx.cancel)
        with pytest.raises(Canceled):
            http.get(ctx, "https://shop.test/hang")
    assert up.requests == ["shop.test:443"]


@library_of_both
def test_wsgi_and_asgi_applications_are_called_under_the_context(
    library: Any, run: Run
) -> None:
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(current().remaining() < 60.0)
        seen.append(int(environ["HTTP_X_REQUEST_TIMEOUT_MS"]) < 60_000)
        start_response("200 OK", [])
        return [b"ok"]

    transport = library.WSGITransport(app)
    inner = library.Client(transport=transport, base_url="http://a")
    with Client(inner) as http, background().with_timeout(60.0) as ctx:
        response: Any = http.get(ctx, "/")
        assert response.text == "ok"
    assert seen == [True, True]

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        transport = library.ASGITransport(stuck)
        inner = library.AsyncClient(transport=transport, base_url="http://a")
        async with AsyncClient(inner) as http_async:
            ctx = background().with_cancel()
            asyncio.get_running_loop().call_soon(ctx.cancel)
            with pytest.raises(Canceled):
                await http_async.get(ctx, "/")

    run(main)
