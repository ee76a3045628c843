"""The spans of `stream.tracing`, made with OpenTelemetry: the one module that imports it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from features.contract import origin
from features.decisions import Decision
from stream.batching import Batch
from stream.tracing import TRACEPARENT, Headers

_W3C = TraceContextTextMapPropagator()
_KAFKA = {"messaging.system": "kafka"}


def exporting(service: str) -> TracerProvider:
    """A provider that sends spans to the collector that the environment names, sampled as it says."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _parent(traceparent: bytes) -> Context:
    return _W3C.extract({TRACEPARENT: traceparent.decode(errors="replace")}, Context())


def _headers(span: Span) -> Headers:
    if not span.get_span_context().trace_flags.sampled:
        return ()
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span))
    return [(TRACEPARENT, carrier[TRACEPARENT].encode())]


def _link(to: Context | Span) -> Link:
    span = get_current_span(to) if isinstance(to, Context) else to
    return Link(span.get_span_context())


class Spans:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("rgalign")

    def flush(self, deadline_s: float) -> None:
        """Sends what has ended; what is not sent in time is given up."""
        sending = threading.Thread(target=self._provider.force_flush, daemon=True)  # it heeds no deadline of its own
        sending.start()
        sending.join(deadline_s)

    @contextlib.contextmanager
    def request(self, route: str, headers: Mapping[str, str]) -> Iterator[None]:
        """The span of a request, current within; an error is named by its kind alone, as its text may be a user's."""
        method, _, path = route.partition(" ")
        span = self._tracer.start_as_current_span(
            route,
            _W3C.extract(dict(headers), Context()),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": path},
            record_exception=False,
            set_status_on_exception=False,
        )
        with span as current:
            try:
                yield
            except Exception as error:
                current.set_attribute("error.type", type(error).__name__)
                raise

    def outgoing(self) -> Headers:
        """The record headers that carry the current span on."""
        return _headers(get_current_span())

    def batch(self, batch: Batch, sampled: Mapping[int, bytes]) -> BatchTrace:
        """Begins the span of a batch. `sampled`: the `traceparent` of each traced record, by its offset."""
        parents = {origin(batch.topic, batch.partition, offset): _parent(text) for offset, text in sampled.items()}
        first, *others = parents.values()
        span = self._tracer.start_span(
            "process",
            first,
            SpanKind.CONSUMER,
            {
                **_KAFKA,
                "messaging.operation.type": "process",
                "messaging.destination.name": batch.topic,
                "messaging.batch.message_count": len(batch.records),
                "rgalign.records": f"{origin(batch.topic, batch.partition, batch.first)}..{batch.last}",
            },
            [_link(context) for context in (first, *others)],
        )
        return BatchTrace(self, span, parents)

    def child(self, name: str, parent: Span, passed_ns: int) -> None:
        """A span that ends now and began `passed_ns` ago."""
        now_ns = time.time_ns()
        span = self._tracer.start_span(name, set_span_in_context(parent), start_time=now_ns - passed_ns)
        span.end(now_ns)

    def deciding(self, decision: Decision, parent: Context, batch: Span, began_ns: int) -> Span:
        """Begins the span of a decision in its trigger's trace, linked to its batch."""
        about = {
            "rgalign.origin": decision.trigger_offset,
            "rgalign.decision_id": decision.decision_id,
            "rgalign.decision": decision.decision,
            "rgalign.reason": decision.reason,
            "rgalign.model": decision.versions.model,
        }
        return self._tracer.start_span("decide", parent, SpanKind.PRODUCER, about, [_link(batch)], began_ns)

    def pushed(self, traceparent: bytes, decision_id: str, since_ms: int) -> None:
        """The way of a decision from its record to a stream, ended now."""
        about = {**_KAFKA, "rgalign.decision_id": decision_id}
        span = self._tracer.start_span(
            "push", _parent(traceparent), SpanKind.CONSUMER, about, start_time=since_ms * 1_000_000
        )
        span.end()


class BatchTrace:
    """What is traced of one batch: its span with its stages, and the decisions of its sampled records.

    `parents`: the trace context of each sampled record, by topic[partition]@offset.
    """

    def __init__(self, spans: Spans, span: Span, parents: Mapping[str, Context]) -> None:
        self._spans, self._span, self._parents = spans, span, parents
        self._began_ns = time.time_ns()
        self._stages: list[tuple[str, int, int]] = []
        self._decisions: list[Span] = []

    def stage(self, name: str, passed_ns: int) -> None:
        """Notes a stage that ended now."""
        self._spans.child(name, self._span, passed_ns)
        self._stages.append((name, passed_ns, time.time_ns()))

    def decided(self, decision: Decision) -> Headers:
        """Begins the span of a decision; the headers that carry it on, none when its trigger is not sampled."""
        parent = self._parents.get(decision.trigger_offset)
        if parent is None:
            return ()
        span = self._spans.deciding(decision, parent, self._span, self._began_ns)
        self._decisions.append(span)
        return _headers(span)

    def fail(self, error: BaseException) -> None:
        """Marks the batch as failed, by the kind of its error alone."""
        self._span.set_status(Status(StatusCode.ERROR))
        self._span.set_attribute("error.type", type(error).__name__)

    def end(self) -> None:
        """Ends all spans; each decision's has the batch's stages as events."""
        for span in self._decisions:
            for name, passed_ns, ended_ns in self._stages:
                span.add_event(name, {"seconds": passed_ns / 1e9}, ended_ns)
            span.end()
        self._span.end()
