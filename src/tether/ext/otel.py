"""OpenTelemetry: spans that say what time there was, and why the work ended.

    with span(ctx, "checkout"):
        ...

It needs opentelemetry-api alone. The current span goes with the work wherever tether
takes it (`go`, `go_with`, `to_thread`, `bind`), and the clients send it on: that is
`tether.wire.Outbound`, and a `traceparent` that is there already stays, so nothing is
doubled where a library is instrumented as well.

A span is yours, or that of an instrumentation: `note` adds the same to one that is
there, and starts none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tether import Context, ContextError, DeadlineExceeded
from tether._clock import INF

try:
    # `tether.wire` sends the trace on if `propagate` is loaded.
    from opentelemetry import propagate, trace  # noqa: F401
    from opentelemetry.trace import Span, Status, StatusCode, Tracer
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.otel needs opentelemetry-api: pip install "tether[otel]"',
        name="opentelemetry",
    ) from None

__all__ = ["note", "span"]


@contextmanager
def span(ctx: Context, name: str, *, tracer: Tracer | None = None) -> Iterator[Span]:
    """A block with a span of its own, which is noted as `note` does.

    Its status is an error if the block raises, unless what it raises only tells that
    `ctx` was canceled: nothing failed then. `tracer` is by default the global one.

        >>> from tether import background
        >>> with background().with_timeout(2.0) as ctx, span(ctx, "checkout") as mine:
        ...     mine.set_attribute("items", 3)
    """
    tracer = tracer or trace.get_tracer("tether")
    with tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    ) as mine:
        try:
            with note(ctx, mine):
                yield mine
        except Exception as exc:
            if not isinstance(exc, ContextError):
                mine.record_exception(exc)
                mine.set_status(Status(StatusCode.ERROR, repr(exc)))
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
        _budget(span, "end", ctx)
        error = ctx.err()
        if error is not None:
            cause = ctx.cause()
            said = {"error": type(error).__name__, "cause": _words(cause)}
            span.add_event("context.done", said)
            if isinstance(error, DeadlineExceeded):
                span.set_status(Status(StatusCode.ERROR, str(error)))


def _budget(span: Span, when: str, ctx: Context) -> None:
    left = ctx.remaining()
    if left != INF:
        span.set_attribute(f"tether.budget.{when}", left)


def _words(cause: BaseException | None) -> str:
    try:
        return str(cause) or type(cause).__name__
    except Exception:
        return type(cause).__name__  # it cannot be printed, and the span matters more
