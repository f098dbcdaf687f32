"""ContextWSGI call by call, without a server."""

from __future__ import annotations

import gc
import logging
import os
import select
import socket
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from werkzeug.test import Client

from tests.ext.serving import until
from tether import (
    Canceled,
    ClientDisconnected,
    Context,
    DeadlineExceeded,
    Scope,
    background,
    current,
)
from tether.ext.wsgi import ContextWSGI, _sockets

OK = ("200 OK", [("Content-Type", "text/plain")])


class Server:
    """Calls an application as a server does, and keeps what it is told."""

    def __init__(self, app: Any, **environ: Any) -> None:
        self.environ: dict[str, Any] = {
            "PATH_INFO": "/page",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            **environ,
        }
        setup_testing_defaults(self.environ)
        self.told: list[Any] = []  # what start_response() was called with
        self.headers: dict[str, str] = {}
        self.sent = b""
        self.body: Any = app(self.environ, self.start_response)

    def start_response(
        self, status: str, headers: Any, exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if exc_info:
            raise exc_info[1]
        assert not self.told
        self.told.append(status)
        self.headers = dict(headers)
        return self.write

    def write(self, data: bytes) -> None:
        assert self.told
        self.sent += data

    def run(self) -> tuple[str, bytes]:
        """Status and body."""
        body, self.body = self.body, None
        try:
            for piece in body:
                self.write(piece)
            return self.told[0], self.sent
        finally:
            if hasattr(body, "close"):
                body.close()


class Pieces:
    """A response that tells what is done to it."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed: list[Context] = []  # what was current each time

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed.append(current())


def answering(body: Iterable[bytes], *, seen: list[Context] | None = None) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if seen is not None:
            seen.append(current())
        start_response(*OK)
        return body

    return app


def waiting(environ: Any, start_response: Any) -> Any:
    current().sleep(60.0)


# -- the scope -------------------------------------------------------------------------


@pytest.mark.parametrize("body", [[b"ok"], (b"ok",), Pieces(b"ok")])
def test_a_request_has_a_context_from_the_root(body: Iterable[bytes]) -> None:
    seen: list[Context] = []
    with background().with_timeout(60.0) as ambient:
        server = Server(ContextWSGI(answering(body, seen=seen), timeout=30.0))
        assert server.run() == ("200 OK", b"ok")
        assert current() is ambient
    assert seen[0].label == "GET /page"
    assert 29.0 < (seen[0].deadline or 0.0) - (ambient.deadline or 0.0) + 60.0 <= 30.1
    assert str(seen[0].cause()) == "context canceled"


def test_it_is_current_while_the_server_goes_through_the_response() -> None:
    seen: list[Context] = []

    def pieces() -> Iterator[bytes]:
        seen.append(current())
        yield b"ok"

    server = Server(ContextWSGI(answering(pieces(), seen=seen)))
    for _ in server.body:
        assert not seen[0].done()
        assert current() is background()  # the server is at work
    server.body.close()
    assert seen[0] is seen[1]
    assert seen[0].done()


def test_a_block_of_the_response_stays_current_from_piece_to_piece() -> None:
    seen: list[Context] = []

    def pieces() -> Iterator[bytes]:
        with current().with_timeout(1.0):
            for _ in range(2):
                seen.append(current())
                yield b"ok"
        seen.append(current())

    Server(ContextWSGI(answering(pieces(), seen=seen))).run()
    assert seen[1] is seen[2] is not seen[0]
    assert seen[3] is seen[0]
    assert current() is background()


def test_a_server_may_go_through_the_response_in_another_thread() -> None:
    pieces = Pieces(b"ok")
    seen: list[Context] = []
    server = Server(ContextWSGI(answering(pieces, seen=seen)))
    thread = threading.Thread(target=server.run)
    thread.start()
    thread.join()
    assert pieces.closed == seen
    assert seen[0].done()


def test_a_response_is_closed_once_and_the_context_left_afterwards() -> None:
    pieces = Pieces(b"ok")
    seen: list[Context] = []
    server = Server(ContextWSGI(answering(pieces, seen=seen)))
    body = server.body
    server.run()
    body.close()
    assert pieces.closed == seen


def test_a_response_that_nobody_goes_through_is_closed_too() -> None:
    pieces = Pieces(b"ok")
    seen: list[Context] = []
    Server(ContextWSGI(answering(pieces, seen=seen))).body.close()
    assert pieces.closed == seen
    assert seen[0].done()


def test_a_response_that_is_dropped_leaves_its_context() -> None:
    seen: list[Context] = []
    app = ContextWSGI(answering(Pieces(b"ok"), seen=seen))
    body = app({"REQUEST_METHOD": "GET"}, lambda *_: print)
    assert not seen[0].done()
    del body
    gc.collect()
    assert seen[0].done()
    assert current() is background()


def test_an_error_of_the_application_passes_as_it_is() -> None:
    error = KeyError("app")
    seen: list[Context] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(current())
        raise error

    with pytest.raises(KeyError) as caught:
        Server(ContextWSGI(app))
    assert caught.value is error
    assert seen[0].done()
    assert current() is background()


def test_an_error_of_the_response_passes_as_it_is() -> None:
    error = KeyError("app")
    pieces = Pieces(b"ok", error)
    with pytest.raises(KeyError) as caught:
        Server(ContextWSGI(answering(pieces))).run()
    assert caught.value is error
    assert len(pieces.closed) == 1
    assert current() is background()


def test_one_inside_another_derives_from_it() -> None:
    seen: list[Context] = []
    inner = ContextWSGI(answering([b"ok"], seen=seen), timeout=60.0)

    def twice(environ: Any, start_response: Any) -> Any:
        seen.append(current())
        inner(environ, lambda *_: print)
        # The first is over, which is nothing to the second.
        return inner(environ, start_response)

    assert Server(ContextWSGI(twice, timeout=30.0)).run() == ("200 OK", b"ok")
    outer, first, second = seen
    assert [ctx.label for ctx in seen] == ["GET /page"] * 3
    assert outer.deadline == first.deadline == second.deadline


def test_the_nearest_one_whose_time_it_was_answers() -> None:
    quick = ContextWSGI(waiting, timeout=0.01)
    assert Server(ContextWSGI(quick, timeout=60.0)).run()[0].startswith("504")
    assert Server(ContextWSGI(ContextWSGI(waiting), timeout=0.01)).run()[0] == (
        "504 Gateway Timeout"
    )


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/b\xc3\xbccher", "GET /bücher"),
        ("/a\r\nb", "GET /a\\r\\nb"),
        ("/\xff", "GET /\ufffd"),
        ("", "GET "),
    ],
)
def test_its_label_is_the_path(path: str, label: str) -> None:
    seen: list[Context] = []
    Server(ContextWSGI(answering([], seen=seen)), PATH_INFO=path)
    assert seen[0].label == label


# -- the response ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("timeout", [None, 60.0, 0.01])
def test_both_sides_keep_to_the_specification(
    method: str, timeout: float | None
) -> None:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if timeout == 0.01:
            current().sleep(60.0)
        start_response(*OK)
        return [b"a", b"", b"b"] if method == "GET" else []

    server = Server(
        validator(ContextWSGI(validator(app), timeout)), REQUEST_METHOD=method
    )
    status, body = server.run()
    if timeout == 0.01:
        assert status == "504 Gateway Timeout"
    else:
        assert (status, body) == ("200 OK", b"ab" if method == "GET" else b"")


def test_the_server_hears_of_a_response_with_its_first_piece() -> None:
    server = Server(ContextWSGI(answering(Pieces(b"", b"ok"))))
    assert server.told == []
    assert next(iter(server.body)) == b""
    assert server.told == ["200 OK"]
    assert server.run() == ("200 OK", b"ok")


def test_an_empty_response_is_one() -> None:
    assert Server(ContextWSGI(answering(Pieces()))).run() == ("200 OK", b"")


def test_a_response_may_be_announced_by_its_first_piece() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(*OK)
        yield b"ok"

    assert Server(ContextWSGI(app)).run() == ("200 OK", b"ok")


def test_a_file_of_the_server_is_left_as_it_is() -> None:
    wrapped = FileWrapper(BytesIO(b"file"))
    server = Server(
        ContextWSGI(answering(wrapped)), **{"wsgi.file_wrapper": FileWrapper}
    )
    assert server.body is wrapped
    assert server.run() == ("200 OK", b"file")


def test_what_is_written_goes_straight_to_the_server() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response(*OK)
        write(b"first ")
        assert server_told() == ["200 OK"]
        write(b"second ")
        return Pieces(b"third")

    told: list[Any] = []

    def server_told() -> list[Any]:
        return told

    class Telling(Server):
        def start_response(self, *args: Any) -> Callable[[bytes], object]:
            told.append(args[0])
            return super().start_response(*args)

    assert Telling(ContextWSGI(app)).run() == ("200 OK", b"first second third")


def test_out_of_time_after_something_was_written_the_response_is_cut() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)(b"first")
        current().sleep(60.0)

    with pytest.raises(BrokenPipeError, match="cut off") as caught:
        Server(ContextWSGI(app, timeout=0.01))
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert current() is background()


def test_a_response_is_announced_once() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response(*OK)
        start_response(*OK)

    with pytest.raises(AssertionError, match="called already"):
        Server(ContextWSGI(app))


def test_an_error_page_takes_the_place_of_a_response_that_has_not_begun() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(*OK)
        error = KeyError("app")
        start_response("500 Mine", [], (KeyError, error, None))
        yield b"my page"

    assert Server(ContextWSGI(app)).run() == ("500 Mine", b"my page")


def test_it_cannot_once_the_response_has_begun() -> None:
    error = KeyError("app")

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(*OK)
        yield b"first"
        start_response("500 Mine", [], (KeyError, error, None))

    with pytest.raises(KeyError) as caught:
        Server(ContextWSGI(app)).run()
    assert caught.value is error


# -- out of time -----------------------------------------------------------------------


def test_time_that_is_over_on_arrival_is_answered_without_the_view() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("called")

    assert Server(ContextWSGI(app, timeout=1e-12)).run() == (
        "504 Gateway Timeout",
        b"The request took too long.\n",
    )


def test_too_little_time_for_the_view_is_answered_504() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        current().require(120.0)

    status, _ = Server(ContextWSGI(app, timeout=60.0)).run()
    assert status == "504 Gateway Timeout"


@pytest.mark.parametrize("body", [[b"of ", b"yesterday"], Pieces(b"of ", b"yesterday")])
def test_a_view_may_answer_although_its_time_is_over(body: Iterable[bytes]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        current().wait(60.0)
        start_response(*OK)
        return body

    assert Server(ContextWSGI(app, timeout=0.01)).run() == ("200 OK", b"of yesterday")


def test_a_shorter_time_of_the_views_own_is_its_own_error() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        with current().with_timeout(0.01) as part:
            part.sleep(60.0)

    with pytest.raises(DeadlineExceeded):
        Server(ContextWSGI(app, timeout=60.0))


def test_code_that_cleans_up_within_the_context_is_no_crash() -> None:
    def pieces() -> Iterator[bytes]:
        ctx = current()
        try:
            yield b"first"
        finally:
            ctx.cancel()  # type: ignore[attr-defined]
            ctx.check()

    server = Server(ContextWSGI(answering(pieces())))
    next(server.body)
    server.body.close()
    assert current() is background()


def test_any_other_error_of_closing_passes() -> None:
    class Broken(Pieces):
        def close(self) -> None:
            raise KeyError("close")

    with pytest.raises(KeyError):
        Server(ContextWSGI(answering(Broken(b"ok")))).run()
    assert current() is background()


def test_nothing_keeps_a_request_alive() -> None:
    class Thing:
        pass

    def lives(app: Any, timeout: float, **environ: Any) -> bool:
        thing = Thing()
        alive = weakref.ref(thing)
        try:
            Server(ContextWSGI(app, timeout), thing=thing, **environ).run()
        except KeyError:
            pass
        del thing
        return alive() is not None

    def broken(environ: Any, start_response: Any) -> Any:
        raise KeyError("app")

    def long(environ: Any, start_response: Any) -> Any:
        current().wait(0.05)
        start_response(*OK)
        return [b"ok"]

    here, there = socket.socketpair()
    gc.collect()
    gc.disable()
    try:
        assert not lives(answering([b"ok"]), 60.0)
        assert not lives(answering(Pieces(b"ok")), 60.0)
        assert not lives(waiting, 0.01)
        assert not lives(broken, 60.0)
        with here, there:
            watched = {"gunicorn.socket": here}
            until(lambda: not lives(long, 60.0, **watched), "it is forgotten")
    finally:
        gc.enable()


@pytest.mark.parametrize("timeout", ["soon", float("nan"), 0, -1.0, object()])
def test_a_wrong_timeout_is_refused_at_once(timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        ContextWSGI(waiting, timeout=timeout)


# -- the client ------------------------------------------------------------------------


def test_the_client_of_a_quick_request_is_not_watched() -> None:
    class Socket:
        def fileno(self) -> int:
            raise AssertionError("asked for")

    server = Server(
        ContextWSGI(answering(Pieces(b"ok"))), **{"gunicorn.socket": Socket()}
    )
    assert server.run() == ("200 OK", b"ok")


@pytest.mark.parametrize("way", ["told", "poll", "waitress"])
def test_a_client_that_leaves_is_noticed(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "poll":
        monkeypatch.delattr(select, "epoll", raising=False)
        monkeypatch.delattr(select, "kqueue", raising=False)
    here, there = socket.socketpair()
    environ: dict[str, Any] = {"werkzeug.socket": here}
    if way == "waitress":
        environ = {"waitress.client_disconnected": lambda: there.fileno() == -1}

    def app(environ: Any, start_response: Any) -> Any:
        ctx = current()
        assert not ctx.wait(0.05)
        there.send(b"the next request")
        assert not ctx.wait(0.05)
        there.close()
        ctx.sleep(60.0)

    with here, there:
        assert Server(ContextWSGI(app), **environ).run() == (
            "499 Client Closed Request",
            b"",
        )


def test_its_cause_says_so() -> None:
    here, there = socket.socketpair()
    seen: list[Context] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(current())
        there.close()
        assert current().wait(10.0)
        start_response(*OK)
        return [b"all the same"]

    with here:
        server = Server(ContextWSGI(app), **{"gunicorn.socket": here})
        assert server.run() == ("200 OK", b"all the same")
    assert isinstance(seen[0].err(), Canceled)
    assert isinstance(seen[0].cause(), ClientDisconnected)


def test_a_response_goes_on_when_its_client_is_gone_and_it_does_not_mind() -> None:
    # A client that has what it wants leaves before the server has come to the end.
    here, there = socket.socketpair()

    def pieces() -> Iterator[bytes]:
        yield b"all"
        there.close()
        assert current().wait(10.0)
        yield b" the"
        yield b" same"

    with here:
        server = Server(ContextWSGI(answering(pieces())), **{"gunicorn.socket": here})
        assert server.run() == ("200 OK", b"all the same")


class Owner:
    def __init__(self) -> None:
        self.hung_up = 0

    def hang_up(self) -> None:
        self.hung_up += 1


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="kqueue marks its news")
def test_late_news_of_a_descriptor_are_not_those_of_the_next_connection() -> None:
    first, second, third = Owner(), Owner(), Owner()
    here, there = socket.socketpair()
    next_here, next_there = socket.socketpair()
    other, end = socket.socketpair()
    fd = here.fileno()
    with here, next_here, next_there, other:
        with _sockets.lock:
            _sockets.watch(first, fd)
            assert _sockets._sockets is not None
            pending = select.poll()
            pending.register(_sockets._sockets._epoll.fileno(), select.POLLIN)
            there.close()
            # Until the thread has the news, and waits for the lock.
            until(lambda: not pending.poll(0), "the news are fetched")
            _sockets.forget(first, fd)
            os.dup2(next_here.fileno(), fd)
            _sockets.watch(second, fd)
            _sockets.watch(third, other.fileno())
        end.close()
        until(lambda: third.hung_up, "later news are told")
        assert (first.hung_up, second.hung_up) == (0, 0)
        next_there.close()
        until(lambda: second.hung_up, "the second is told")
        assert (first.hung_up, second.hung_up) == (0, 1)


def test_what_was_forgotten_is_not_told() -> None:
    first, second = Owner(), Owner()
    here, there = socket.socketpair()
    other, end = socket.socketpair()
    with here, other:
        _sockets.watch(first, here.fileno())
        _sockets.forget(first, here.fileno())
        _sockets.forget(first, here.fileno())
        there.close()
        _sockets.watch(second, other.fileno())
        end.close()
        until(lambda: second.hung_up, "the second is told")
        assert first.hung_up == 0


# -- Flask, in its own tests too -------------------------------------------------------


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask("of_these_tests")

    @app.get("/slow")
    def slow() -> str:
        current().sleep(60.0)
        return "slept"

    @app.get("/logs")
    def logs() -> str:
        try:
            current().sleep(60.0)
        except DeadlineExceeded:
            app.logger.exception("the view's own words")
            raise
        return "slept"

    app.wsgi_app = ContextWSGI(app.wsgi_app, timeout=0.01)  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize("propagate", [False, True])
def test_flask_does_not_log_the_end_as_a_crash(
    app: flask.Flask, propagate: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = propagate
    assert Client(app).get("/slow").status_code == 504
    assert caplog.records == []


def test_what_a_view_logs_itself_is_kept(
    app: flask.Flask, caplog: pytest.LogCaptureFixture
) -> None:
    Client(app).get("/slow")
    assert Client(app).get("/logs").status_code == 504
    assert [record.message for record in caplog.records] == ["the view's own words"]


def test_an_error_handler_of_flasks_answers_first(app: flask.Flask) -> None:
    @app.errorhandler(DeadlineExceeded)
    def later(exc: DeadlineExceeded) -> tuple[str, int]:
        return "later", 503

    answer = Client(app).get("/slow")
    assert (answer.status_code, answer.text) == (503, "later")


def test_flask_finishes_the_request_in_its_own_way(app: flask.Flask) -> None:
    done: list[str] = []

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        done.append("after")
        response.call_on_close(lambda: done.append("closed"))
        return response

    @app.teardown_request
    def teardown(exc: BaseException | None) -> None:
        done.append("teardown")

    answer = Client(app).get("/slow")
    answer.close()
    assert answer.status_code == 504
    assert done == ["after", "teardown", "closed"]


def test_the_request_of_flask_can_be_canceled_by_who_has_its_scope(
    app: flask.Flask,
) -> None:
    @app.get("/stop")
    def stop() -> str:
        scope = current()
        assert isinstance(scope, Scope)
        scope.cancel()
        scope.check()
        return "?"

    assert Client(app).get("/stop").status_code == 503


logging.getLogger("of_these_tests").addHandler(logging.NullHandler())
