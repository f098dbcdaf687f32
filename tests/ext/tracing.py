"""A tracer of the SDK of OpenTelemetry whose spans can be looked at."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer


class Traced:
    """What was traced."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = self.provider.get_tracer("tests")

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in this order."""
        return [*self.exporter.get_finished_spans()]

    def only(self) -> ReadableSpan:
        [one] = self.spans()
        return one

    def parents(self, trace_id: int) -> dict[str, str]:
        """Of the spans of a trace, by name; "the caller" is none of them."""
        known = [
            one
            for one in self.spans()
            if one.context and one.context.trace_id == trace_id
        ]
        ids = {one.context.span_id: one.name for one in known if one.context}
        return {
            one.name: ids.get(one.parent.span_id, "the caller")
            for one in known
            if one.parent is not None
        }
