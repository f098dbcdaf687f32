"""The trace of the caller, where OpenTelemetry is loaded and nobody has read it yet."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, final


@final
class within:  # noqa: N801
    """A block in which the trace that came with a call is current."""

    __slots__ = ("_metadata", "_token")

    def __init__(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        self._metadata = metadata
        self._token: Any = None

    def __enter__(self) -> None:
        # As `tether.wire` sends it: whoever wants traces has loaded these.
        propagate = sys.modules.get("opentelemetry.propagate")
        if propagate is None:
            return
        trace: Any = sys.modules["opentelemetry.trace"]
        if trace.get_current_span().get_span_context().is_valid:
            return  # an instrumentation has read it, and made a span of its own
        carrier = {key: text for key, text in self._metadata if isinstance(text, str)}
        theirs = propagate.extract(carrier)
        if trace.get_current_span(theirs).get_span_context().is_valid:
            self._token = sys.modules["opentelemetry.context"].attach(theirs)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            sys.modules["opentelemetry.context"].detach(self._token)
