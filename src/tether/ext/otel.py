"""OpenTelemetry: spans that say what time there was, and why the work ended.

    with span(ctx, "checkout"):
        ...

It needs opentelemetry-api alone. The current span goes with the work wherever tether
takes it (`go`, `go_with`, `to_thread`, `bind`), and the clients send it on: that is
`tether.wire.Outbound`, and a `traceparent` that is there already stays, so nothing is
doubled where a library is instrumented as well.

A span is yours, or that of an instrumentation: `note` adds the same to one that is
there, and starts none. `ASGITrace` and `WSGITrace` go on with the trace of a caller
where no instrumentation does; they start none either. `statements` has tether's own
integrations of databases start one for each statement.
"""

from __future__ import annotations

import re
from collections.abc import (
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    MutableMapping,
)
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias, final

from tether import Context, ContextError, DeadlineExceeded, _watching
from tether._clock import INF

try:
    # `tether.wire` sends the trace on if `propagate` is loaded.
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context as Trace
    from opentelemetry.context import attach, detach
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
    from opentelemetry.util.types import Attributes
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.otel needs opentelemetry-api: pip install "tether[otel]"',
        name="opentelemetry",
    ) from None

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["ASGITrace", "WSGITrace", "note", "span", "statements"]

# As in tether.ext.asgi, which is not imported for it.
_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_ASGIApp: TypeAlias = Callable[[_Message, _Receive, _Send], Awaitable[None]]


@contextmanager
def span(
    ctx: Context,
    name: str,
    *,
    tracer: Tracer | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes = None,
) -> Iterator[Span]:
    """A block with a span of its own, which is noted as `note` does.

    Its status is an error if the block raises, unless what it raises only tells that
    `ctx` was canceled: nothing failed then. `tracer` is by default the global one;
    `kind` and `attributes` are as OpenTelemetry has them.

        >>> from tether import background
        >>> with background().with_timeout(2.0) as ctx, span(ctx, "checkout") as mine:
        ...     mine.set_attribute("items", 3)
    """
    tracer = tracer or trace.get_tracer("tether")
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as mine:
        try:
            with note(ctx, mine):
                yield mine
        except Exception as exc:
            if not isinstance(exc, ContextError):
                _failed(mine, exc)
            elif isinstance(exc, DeadlineExceeded):
                mine.set_status(Status(StatusCode.ERROR, str(exc)))
            raise


@contextmanager
def note(ctx: Context, span: Span | None = None) -> Iterator[None]:
    """A block that tells a span, by default the current one, of `ctx`.

    `tether.root` is the name of the work; `tether.budget.start` and `tether.budget.end`
    are the seconds left, where there is a deadline. If the context is over by the end
    of the block there is an event `context.done` with its `error` and `cause`, and the
    status is an error if the time was up. A client that went away is no error.
    """
    span = trace.get_current_span() if span is None else span
    if not span.is_recording():
        yield
        return
    if ctx.label:
        span.set_attribute("tether.root", ctx.label)
    _budget(span, "start", ctx)
    try:
        yield
    finally:
        # Somebody else's may be over before: an instrumentation ends that of a request
        # with the last piece of its response.
        if span.is_recording():
            _conclude(span, ctx)


# -- databases -----------------------------------------------------------------------

_WORD = re.compile(r"\s*([A-Za-z]+)")
_switch = Lock()


def statements(
    *, tracer: Tracer | None = None, text: bool = True
) -> Callable[[], None]:
    """A span for each statement from now on; returns what switches it off again.

    For the functions of `tether.ext.sqlite`, `psycopg` and `asyncpg` that take a
    statement, for what code runs by itself on a connection inside `transaction()` or
    `guard()` of `tether.ext.psycopg`, and for all that runs under a context on an
    engine of `tether.ext.sqlalchemy` or a connection of `tether.ext.django`. A span is
    named by the first word, as "SELECT", and noted as `note` does. `text=False` keeps
    what the statement says out of it; its parameters are never there.

    Use it, or an instrumentation of the driver, and not both: each makes its spans.
    RuntimeError if it is on already.

        >>> undo = statements()
        >>> undo()
    """

    def begun(ctx: Context, system: str, said: object) -> AbstractContextManager[Span]:
        query = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        attributes = {"db.system.name": system}
        name = system
        if isinstance(query, str):  # else it is put together by the driver
            word = _WORD.match(query)
            if word is not None:
                name = attributes["db.operation.name"] = word[1].upper()
            if text:
                attributes["db.query.text"] = query
        return span(
            ctx, name, tracer=tracer, kind=SpanKind.CLIENT, attributes=attributes
        )

    def undo() -> None:
        with _switch:
            if _watching.statement is begun:
                _watching.statement = None

    with _switch:
        if _watching.statement is not None:
            raise RuntimeError(
                "statements() is on already: call what it returned to switch it off"
            )
        _watching.statement = begun
    return undo


def _budget(span: Span, when: str, ctx: Context) -> None:
    left = ctx.remaining()
    if left != INF:
        span.set_attribute(f"tether.budget.{when}", left)


def _conclude(span: Span, ctx: Context) -> None:
    _budget(span, "end", ctx)
    error = ctx.err()
    if error is not None:
        said = {"error": type(error).__name__, "cause": _words(ctx.cause())}
        span.add_event("context.done", said)
        if isinstance(error, DeadlineExceeded):
            span.set_status(Status(StatusCode.ERROR, str(error)))


def _failed(span: Span, exc: Exception) -> None:
    try:
        span.record_exception(exc)
        said = repr(exc)
    except Exception:
        said = type(exc).__name__  # it cannot be printed: it is raised all the same
        span.add_event("exception", {"exception.type": said})
    span.set_status(Status(StatusCode.ERROR, said))


def _words(cause: BaseException | None) -> str:
    try:
        return str(cause) or type(cause).__name__
    except Exception:
        return type(cause).__name__  # it cannot be printed, and the span matters more


# -- what arrives --------------------------------------------------------------------


@final
class ASGITrace:
    """An ASGI application around `app` that goes on with the trace of its caller.

    It reads `traceparent` and whatever else the propagators of OpenTelemetry know, and
    starts no span: those of the handler, and of the services that it calls, belong to
    the caller's. Where a span is current already, an instrumentation has read the
    headers, and nothing is done. Put it around `ContextMiddleware`.
    """

    def __init__(self, app: _ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """What the server calls."""
        with _within(_arrived(_asgi_headers(scope))):
            await self.app(scope, receive, send)


@final
class WSGITrace:
    """The same as `ASGITrace` for WSGI; put it around `ContextWSGI`.

    A streamed response is made within the trace as well.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """What the server calls."""
        theirs = _arrived(_wsgi_headers(environ))
        with _within(theirs):
            body = self.app(environ, start_response)
        if theirs is None or isinstance(body, list | tuple):
            return body
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            return body  # servers send it by other means if they recognize it
        return _Streamed(body, theirs)


@final
class _Streamed:
    """A response each piece of which is made within a trace, and nothing in between."""

    def __init__(self, body: Iterable[bytes], theirs: Trace) -> None:
        self._body = body
        self._pieces: Iterator[bytes] | None = None
        self._theirs = theirs

    def __iter__(self) -> _Streamed:
        return self

    def __next__(self) -> bytes:
        with _within(self._theirs):
            if self._pieces is None:
                self._pieces = iter(self._body)
            return next(self._pieces)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with _within(self._theirs):
                close()


class _within:  # noqa: N801
    """A block in which `theirs` is current. No generator: StopIteration passes."""

    def __init__(self, theirs: Trace | None) -> None:
        self._theirs = theirs

    def __enter__(self) -> None:
        if self._theirs is not None:
            self._token = attach(self._theirs)

    def __exit__(self, *_: object) -> None:
        if self._theirs is not None:
            detach(self._token)


def _arrived(headers: Iterable[tuple[str, str]]) -> Trace | None:
    """The trace that a request belongs to, unless somebody has read it already."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name, []).append(value)
    theirs = propagate.extract(carrier)
    known = trace.get_current_span(theirs).get_span_context().is_valid
    return theirs if known else None


def _asgi_headers(scope: _Message) -> Iterator[tuple[str, str]]:
    for name, value in scope.get("headers", ()):  # a lifespan has none
        yield name.decode("latin-1").lower(), value.decode("latin-1")


def _wsgi_headers(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value
