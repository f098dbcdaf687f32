"""Work that comes as a message: its context, made of what the sender wrote.

For integrations of engines and brokers. A message may lie for long before anybody takes
it, so it carries the time that is left and the instant as well: the smaller counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from inspect import unwrap
from types import CodeType

from ._context import Context
from ._roots import background
from ._scope import Scope
from .wire import Inbound, Outbound

_OUTBOUND = Outbound()


@cache
def _inbound(skew: float | None) -> Inbound:
    return Inbound() if skew is None else Inbound(skew=skew)


def written(ctx: Context) -> dict[str, str]:
    """What a message tells of `ctx`: its time, its values, its trace."""
    headers: dict[str, str] = {}
    _OUTBOUND.write(ctx, headers, now=time.time())
    return headers


def scope_of(
    headers: Mapping[str, str], label: str, fn: object, skew: float | None
) -> Scope:
    """The scope of the call of `fn` that a message asks for; the sender is trusted.

    `skew` is by how much clocks may differ, None for what `Inbound` says.
    """
    lines = [(name.encode(), text.encode()) for name, text in headers.items()]
    arrived = _inbound(skew).read(lines, trusted=True, now=time.time())
    ctx = arrived.onto(background())
    if arrived.timeout is None:
        scope = ctx.with_cancel(label=label)
    else:
        scope = ctx.with_timeout(arrived.timeout, cause=arrived.cause, label=label)
    code = _code_of(fn)
    if code is not None:
        scope._code, scope._lasti = code, 0  # a line of tether's would tell nobody
    return scope


def _code_of(fn: object) -> CodeType | None:
    while isinstance(fn, partial):
        fn = fn.func
    code = getattr(unwrap(fn), "__code__", None) if callable(fn) else None
    return code if isinstance(code, CodeType) else None


@contextmanager
def working(
    scope: Scope,
    headers: Mapping[str, str],
    is_given_up: Callable[[], bool],
    instead: type[Exception],
) -> Iterator[None]:
    """A block around the work of a message: in its scope, and within its trace.

    Of work that nobody wants any more each error says that alone, whatever it has made
    of the end of its context, so it becomes `instead`: what the engine takes for it.
    """
    try:
        with tracing(headers), scope:
            yield
    except Exception as exc:
        if is_given_up():
            raise instead from exc
        raise


@contextmanager
def tracing(headers: Mapping[str, str]) -> Iterator[None]:
    """A block within the sender's trace, if OpenTelemetry is loaded here.

    Not where an instrumentation of the engine has begun a span already.
    """
    propagate = sys.modules.get("opentelemetry.propagate")
    trace = sys.modules.get("opentelemetry.trace")
    if propagate is None or trace is None:
        yield
        return
    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    context = sys.modules["opentelemetry.context"]
    token = context.attach(propagate.extract(headers))
    try:
        yield
    finally:
        context.detach(token)
