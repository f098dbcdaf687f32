"""tether.ext.requests, what is requests' own: retries, streams, adapters, proxies."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest
import requests
from urllib3.util import Retry

from tests.core.support import start
from tests.ext.test_clients_in_threads import LONG_BEFORE, SOON, quick
from tests.ext.upstream import Upstream, deaf
from tether import Canceled, DeadlineExceeded, background
from tether.ext.requests import Adapter, Session
from tether.wire import REQUEST_ID, Outbound


def session(**options: Any) -> Session:
    """One whose adapters were made with these options."""
    plain = requests.Session()
    plain.trust_env = False
    for prefix in ("http://", "https://"):
        plain.mount(prefix, Adapter(**options))
    return Session(plain)


def test_the_pause_before_a_retry_ends_with_the_context(up: Upstream) -> None:
    """The server asks for an hour."""
    retries = Retry(3, status_forcelist=[503])
    with session(max_retries=retries) as http:
        with quick(), background().with_timeout(SOON) as ctx:
            with pytest.raises(DeadlineExceeded):
                http.get(ctx, up.url + "/busy")
        with background().with_cancel() as scope:
            call = start(http.get, scope, up.url + "/busy")
            time.sleep(SOON)
            scope.cancel()
            assert isinstance(call.exception(LONG_BEFORE), Canceled)
    assert up.requests == ["/busy", "/busy"]


def test_retries_of_the_connection_ask_the_context(up: Upstream) -> None:
    with session(max_retries=Retry(100, backoff_factor=60)) as http:
        with quick(), background().with_cancel() as ctx:
            up.on("/hang", ctx.cancel)
            with pytest.raises(Canceled):
                http.get(ctx, up.url + "/hang")
    assert up.requests == ["/hang"]


def test_retries_keep_what_their_class_has(up: Upstream) -> None:
    class Counting(Retry):
        seen = 0

        def increment(self, *args: Any, **kw: Any) -> Any:
            Counting.seen += 1
            return super().increment(*args, **kw)

    retries = Counting(2, status_forcelist=[503], respect_retry_after_header=False)
    with session(max_retries=retries) as http, background().with_timeout(60.0) as ctx:
        with pytest.raises(requests.exceptions.RetryError):
            http.get(ctx, up.url + "/busy")
    assert Counting.seen == 3
    assert len(up.requests) == 3


def test_a_stream_is_bound_until_it_is_closed(up: Upstream) -> None:
    with session() as http, background().with_cancel() as ctx:
        response = http.get(ctx, up.url + "/drip", stream=True)
        later = threading.Timer(SOON, ctx.cancel)
        later.start()
        with quick(), pytest.raises(Canceled) as caught:
            for _ in response.iter_content(1):
                pass
        later.join()
        assert caught.value.ctx is ctx
        up.left("/drip")


def test_a_raw_stream_that_is_cut_is_never_short(up: Upstream) -> None:
    with session() as http, background().with_cancel() as ctx:
        response = http.get(ctx, up.url + "/until-close", stream=True)
        reading = start(response.raw.read)
        time.sleep(SOON)
        ctx.cancel()
        assert isinstance(reading.exception(LONG_BEFORE), Exception)


def test_lines_of_a_stream_are_bound_too(up: Upstream) -> None:
    with session() as http, background().with_cancel() as ctx:
        response = http.get(ctx, up.url + "/chunks", stream=True)

        def read() -> list[bytes]:
            return [*response.iter_lines()]

        reading = start(read)
        time.sleep(SOON)
        ctx.cancel()
        assert isinstance(reading.exception(LONG_BEFORE), Canceled)


def test_a_response_that_was_read_outlives_its_context(up: Upstream) -> None:
    with session() as http:
        with background().with_cancel() as ctx:
            response = http.get(ctx, up.url + "/ok")
        assert response.text == "ok"
        again: requests.Response = pickle.loads(pickle.dumps(response))
        assert again.content == b"ok"
        assert [*again.iter_content(1)] == [b"o", b"k"]


def test_an_idle_connection_serves_the_next_context(up: Upstream) -> None:
    with session() as http:
        for _ in range(3):
            with background().with_timeout(60.0) as ctx:
                assert http.get(ctx, up.url + "/ok").text == "ok"
        assert http.session.get(up.url + "/ok").text == "ok"
    assert up.connections == 1


def test_all_verbs_are_requests(up: Upstream) -> None:
    verbs = ["get", "options", "head", "post", "put", "patch", "delete"]
    with session() as http, background().with_timeout(60.0) as ctx:
        for verb in verbs:
            assert getattr(http, verb)(ctx, up.url + "/ok").status_code == 200
        assert http.head(ctx, up.url + "/again").status_code == 302
    sent = [head[":method"] for head in up.heads]
    assert sent == [verb.upper() for verb in (*verbs, "head")]


def test_requests_own_timeouts_are_its_own_errors(up: Upstream) -> None:
    with session() as http, background().with_timeout(60.0) as ctx:
        with pytest.raises(requests.ReadTimeout):
            http.get(ctx, up.url + "/hang", timeout=(60.0, SOON))
        with deaf() as port, pytest.raises(requests.ConnectTimeout):
            http.get(ctx, f"http://127.0.0.1:{port}/", timeout=SOON)


def test_an_upload_that_nobody_reads_ends(up: Upstream) -> None:
    with session() as http, quick(), background().with_timeout(SOON) as ctx:
        with pytest.raises(DeadlineExceeded):
            http.post(ctx, up.url + "/upload", data=b"x" * 50_000_000)


def test_a_proxys_connections_obey_as_well(up: Upstream) -> None:
    """A tunnel that is not answered: CONNECT to a server that hangs."""
    with session() as http:
        http.session.proxies = {"https": up.url}
        with quick(), background().with_cancel() as ctx:
            up.on("shop.test:443", ctx.cancel)
            with pytest.raises(Canceled):
                http.get(ctx, "https://shop.test/")
    assert up.requests == ["shop.test:443"]


def test_adapters_of_an_existing_session_are_replaced_with_their_settings() -> None:
    class Own(requests.adapters.HTTPAdapter):
        pass

    plain = requests.Session()
    plain.mount("http://", requests.adapters.HTTPAdapter(max_retries=7))
    plain.mount("http://own/", Own())
    with Session(plain) as http:
        adapter: Any = http.session.get_adapter("http://shop/")
        assert type(adapter) is Adapter
        assert adapter.max_retries.total == 7
        assert type(http.session.get_adapter("http://own/")) is Own


def test_an_adapter_can_be_pickled(up: Upstream) -> None:
    adapter: Adapter = pickle.loads(pickle.dumps(Adapter(max_retries=2)))
    with requests.Session() as plain:
        plain.mount("http://", adapter)
        with background().with_timeout(60.0):
            assert plain.get(up.url + "/ok").text == "ok"


def test_a_stranger_is_told_nothing(up: Upstream) -> None:
    stranger = Outbound(timeout=None, values=False, trace=False)
    ctx = background().with_value(REQUEST_ID, "7d1").with_timeout(30.0)
    with session(outbound=stranger) as http:
        http.get(ctx, up.url + "/ok")
    assert not {"x-request-id", "x-request-timeout-ms"} & up.heads[0].keys()
    ctx.cancel()
