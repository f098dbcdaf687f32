"""ContextWSGI: what a caller says of its time, its id and its values."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.ext.test_wsgi import OK, Server, answering, waiting
from tether import Context, DeadlineExceeded, Key, current
from tether.ext.wsgi import ContextWSGI
from tether.wire import REQUEST_ID, CallerTimeout

TENANT: Key[str] = Key("wsgi-tenant", wire="x-wsgi-tenant")
MADE = re.compile("[0-9a-f]{16}-[0-9]+")


def seen_by(environ: dict[str, str], *args: Any, **options: Any) -> tuple[Context, int]:
    """The context of a request, and the seconds that it had."""
    seen: list[tuple[Context, float]] = []

    def app(_: Any, start_response: Any) -> Any:
        seen.append((current(), current().remaining()))
        start_response(*OK)
        return [b"ok"]

    server = Server(ContextWSGI(app, *args, **options), **environ)
    assert server.run() == ("200 OK", b"ok")
    [(ctx, left)] = seen
    return ctx, round(left) if left < 1e9 else -1


@pytest.mark.parametrize(
    ("variable", "value", "own", "most", "left"),
    [
        ("HTTP_X_REQUEST_TIMEOUT_MS", "5000", None, None, 5),
        ("HTTP_X_REQUEST_TIMEOUT_MS", "5000", 2.0, None, 2),
        ("HTTP_X_REQUEST_TIMEOUT_MS", "5000", None, 3.0, 3),
        ("HTTP_GRPC_TIMEOUT", "4S", 60.0, None, 4),
        ("HTTP_X_REQUEST_TIMEOUT_MS", "soon", 60.0, None, 60),
        ("HTTP_X_REQUEST_TIMEOUT_MS", "\u0663", 60.0, None, 60),
        ("HTTP_ACCEPT", "*/*", None, 3.0, -1),
    ],
)
def test_a_caller_can_only_shorten(
    variable: str, value: str, own: Any, most: float | None, left: int
) -> None:
    value = value.encode().decode("latin-1")  # PEP 3333
    assert seen_by({variable: value}, own, max_timeout=most)[1] == left


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_too_little_left_on_arrival_is_answered_504_without_work(method: str) -> None:
    seen: list[Context] = []
    server = Server(
        ContextWSGI(answering([b"ok"], seen=seen), 60.0),
        HTTP_X_REQUEST_TIMEOUT_MS="1",
        HTTP_X_REQUEST_ID="7d1",
        REQUEST_METHOD=method,
    )
    status, body = server.run()
    assert status == "504 Gateway Timeout"
    assert body == (b"The request took too long.\n" if method == "GET" else b"")
    assert server.headers["X-Request-ID"] == "7d1"
    assert seen == []


def test_what_the_caller_had_left_ends_the_request_and_is_named() -> None:
    seen: list[Context] = []

    def app(*_: Any) -> Any:
        seen.append(current())
        current().sleep(60.0)

    server = Server(ContextWSGI(app, 60.0), HTTP_X_REQUEST_TIMEOUT_MS="20")
    assert server.run()[0] == "504 Gateway Timeout"
    assert isinstance(seen[0].cause(), CallerTimeout)
    error = seen[0].err()
    assert isinstance(error, DeadlineExceeded)
    assert "the caller had 0.02 s left" in error.detail


def test_the_callers_id_is_taken_kept_and_answered() -> None:
    seen: list[Context] = []
    app = ContextWSGI(answering([b"ok"], seen=seen))
    server = Server(app, HTTP_X_REQUEST_ID="7d1")
    assert server.run()[0] == "200 OK"
    assert server.headers["X-Request-ID"] == "7d1"
    assert seen[0].value(REQUEST_ID) == "7d1"
    assert OK[1] == [("Content-Type", "text/plain")]  # the application's own list


@pytest.mark.parametrize("sent", [{}, {"HTTP_X_REQUEST_ID": "no good"}])
def test_without_a_sane_one_it_is_made(sent: dict[str, str]) -> None:
    seen: list[Context] = []
    server = Server(ContextWSGI(answering([b"ok"], seen=seen)), **sent)
    server.run()
    ident = server.headers["X-Request-ID"]
    assert MADE.fullmatch(ident)
    assert seen[0].value(REQUEST_ID) == ident


def test_an_id_that_the_application_answers_with_is_left_alone() -> None:
    def app(_: Any, start_response: Any) -> Any:
        start_response("200 OK", [("x-request-id", "its own")])
        return [b"ok"]

    server = Server(ContextWSGI(app), HTTP_X_REQUEST_ID="7d1")
    server.run()
    assert server.headers == {"x-request-id": "its own"}


def test_a_stream_and_an_answer_of_ours_carry_it_too() -> None:
    streamed = Server(ContextWSGI(answering(iter([b"a"]))), HTTP_X_REQUEST_ID="7d1")
    assert streamed.run() == ("200 OK", b"a")
    assert streamed.headers["X-Request-ID"] == "7d1"
    late = Server(ContextWSGI(waiting, 0.02), HTTP_X_REQUEST_ID="7d1")
    assert late.run()[0] == "504 Gateway Timeout"
    assert late.headers["X-Request-ID"] == "7d1"


def test_one_inside_another_leaves_the_headers_to_it() -> None:
    seen: list[tuple[str | None, int]] = []

    def app(_: Any, start_response: Any) -> Any:
        ctx = current()
        seen.append((ctx.value(REQUEST_ID), round(ctx.remaining())))
        start_response(*OK)
        return [b"ok"]

    both = ContextWSGI(ContextWSGI(app, 9.0))
    server = Server(both, HTTP_X_REQUEST_TIMEOUT_MS="3000")
    server.run()
    assert seen == [(server.headers["X-Request-ID"], 3)]


@pytest.mark.parametrize(
    ("trust", "value"),
    [(False, None), (True, "acme"), (lambda environ: environ["SAFE"] == "yes", "acme")],
    ids=["nobody", "everybody", "this one"],
)
def test_values_count_from_trusted_callers(trust: Any, value: str | None) -> None:
    environ = {"HTTP_X_WSGI_TENANT": "acme", "SAFE": "yes"}
    assert seen_by(environ, trust=trust)[0].value(TENANT) == value


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"max_timeout": 0}, ValueError, "max_timeout is above 0"),
        ({"trust": "yes"}, TypeError, "trust is True, False or a function"),
        ({"accepted": "x-timeout-ms"}, TypeError, "a tuple of names"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
    ],
)
def test_a_wrong_option_is_an_error_at_the_start(
    more: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ContextWSGI(waiting, **more)
