"""What the WSGI servers of the tests serve: the same views in three frameworks.

A path is /FRAMEWORK/VIEW, or /FRAMEWORK-timed/VIEW for a timeout of 0.25 s; the query is
a name under which what happens is written to the standard output, a line each. Run as a
program it is one of the servers: python -m tests.ext.wsgi_app SERVER FD.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

import django
import flask
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path as django_path

from tether import Context, ContextError, current
from tether.ext.wsgi import ContextWSGI

if os.environ.get("WITHOUT_EPOLL"):
    del select.epoll  # type: ignore[misc, unused-ignore]

Note = Callable[[str], object]
Read = Callable[[], bytes]
Answer = bytes | Iterable[bytes]


def noting(name: str) -> Note:
    return lambda what: os.write(1, f"{name} {what}\n".encode())


def reading(environ: Any) -> Read:
    length = environ.get("CONTENT_LENGTH")
    return lambda: environ["wsgi.input"].read(*([int(length)] if length else []))


def begin(note: Note) -> Context:
    ctx = current()
    ctx.after_func(lambda: note("over"))
    note("began")
    return ctx


# -- views -----------------------------------------------------------------------------


def wait(note: Note, _: Read) -> Answer:
    ctx = begin(note)
    try:
        ctx.sleep(60.0)
    except ContextError as exc:
        note(f"{type(exc).__name__} {type(ctx.cause()).__name__}")
        raise
    return b"slept"


def stream(note: Note, _: Read) -> Answer:
    begin(note)

    def pieces() -> Iterator[bytes]:
        ctx = current()
        try:
            while True:
                yield b"x" * 100
                ctx.sleep(0.01)
        finally:
            note(f"left {type(ctx.cause()).__name__}")

    return pieces()


def late_stream(note: Note, _: Read) -> Answer:
    ctx = begin(note)

    def pieces() -> Iterator[bytes]:
        ctx.sleep(60.0)
        yield b"late"

    return pieces()


def cut_stream(note: Note, _: Read) -> Answer:
    ctx = begin(note)

    def pieces() -> Iterator[bytes]:
        yield b"first"
        ctx.sleep(60.0)
        yield b"second"

    return pieces()


def heedless_stream(note: Note, _: Read) -> Answer:
    begin(note)

    def pieces() -> Iterator[bytes]:
        while True:
            yield b"x"
            time.sleep(0.01)

    return pieces()


def digest(note: Note, body: Read) -> Answer:
    ctx = begin(note)
    ctx.sleep(0.05)  # it is watched before the body is read
    return hashlib.sha1(body()).hexdigest().encode()


def hold(note: Note, _: Read) -> Answer:
    return b"lost" if current().wait(0.06) else b"held"


def quick(note: Note, _: Read) -> Answer:
    return (current().label or "?").encode()


def broken(note: Note, _: Read) -> Answer:
    raise KeyError("of the view")


def stopped(note: Note, _: Read) -> Answer:
    ctx = current()
    ctx.cancel()  # type: ignore[attr-defined]
    ctx.check()
    return b"?"


def own_deadline(note: Note, _: Read) -> Answer:
    with current().with_timeout(0.01) as part:
        part.sleep(60.0)
    return b"?"


VIEWS: dict[str, Callable[[Note, Read], Answer]] = {
    view.__name__.replace("_", "-"): view
    for view in [
        *[wait, stream, late_stream, cut_stream, heedless_stream, digest, hold],
        *[quick, broken, stopped, own_deadline],
    ]
}


# -- frameworks ------------------------------------------------------------------------


def raw(environ: Any, start_response: Any) -> Iterable[bytes]:
    view = VIEWS[environ["PATH_INFO"].strip("/")]
    answer = view(noting(environ["QUERY_STRING"]), reading(environ))
    headers = [("Content-Type", "text/plain")]
    if isinstance(answer, bytes):
        start_response("200 OK", [*headers, ("Content-Length", str(len(answer)))])
        return [answer]
    start_response("200 OK", headers)
    return answer


flask_app = flask.Flask("of_the_tests")


@flask_app.route("/<view>", methods=["GET", "POST"])
def flask_view(view: str) -> flask.Response:
    name = flask.request.query_string.decode()
    return flask.Response(VIEWS[view](noting(name), flask.request.stream.read))


def django_view(request: HttpRequest, view: str) -> HttpResponseBase:
    name = request.META["QUERY_STRING"]
    # Django itself reads no body that comes in chunks.
    answer = VIEWS[view](noting(name), reading(request.META))
    if isinstance(answer, bytes):
        return HttpResponse(answer, headers={"Content-Length": str(len(answer))})
    return StreamingHttpResponse(answer)


settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="-")
urlpatterns = [django_path("<view>", django_view)]
django.setup()

FRAMEWORKS: dict[str, Any] = {
    "raw": raw,
    "flask": flask_app.wsgi_app,
    "django": get_wsgi_application(),
}
APPLICATIONS = {
    name + suffix: ContextWSGI(app, timeout)
    for name, app in FRAMEWORKS.items()
    for suffix, timeout in (("", None), ("-timed", 0.25))
}


def application(environ: Any, start_response: Any) -> Iterable[bytes]:
    _, which, rest = environ["PATH_INFO"].split("/", 2)
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/" + which, "/" + rest
    return APPLICATIONS[which](environ, start_response)


# -- servers ---------------------------------------------------------------------------


def warm_up() -> None:
    """A request that is watched, in the process that will be forked."""
    here, there = socket.socketpair()
    with here, there:
        environ = {
            "PATH_INFO": "/raw/hold",
            "QUERY_STRING": "master",
            "REQUEST_METHOD": "GET",
            "gunicorn.socket": here,
            "wsgi.input": BytesIO(),
        }
        assert list(application(environ, lambda *_: None)) == [b"held"]


def main(server: str, fd: int) -> None:
    if server.startswith("werkzeug"):
        from werkzeug.serving import make_server

        make_server("127.0.0.1", 0, application, threaded=True, fd=fd).serve_forever()
    else:
        import waitress

        waitress.serve(
            application,
            sockets=[socket.socket(fileno=fd)],
            threads=16,
            channel_request_lookahead=1,
        )


if os.environ.get("WARM_UP"):
    warm_up()
if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
