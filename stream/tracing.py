"""Traces from an event to its decision; nothing at all unless the environment names a collector.

    gateway  span "POST /v1/events", in the caller's trace if it has one -> header `traceparent` of the record
    worker   span "process" of a batch that holds sampled records, linked to each; its stages are its children
             span "decide" of each decision over a sampled record, in its trace -> header `traceparent` again
    gateway  span "push", from the decision's record to the stream of its user

OpenTelemetry's own variables rule: OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) turns it on,
OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say how much is sampled; only what is sampled is carried on. Spans name
records as topic[partition]@offset, decisions and models by id; never a user, never a text.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from stream.batching import Batch
from stream.telemetry import STAGE_SECONDS

if TYPE_CHECKING:
    from features.decisions import Decision
    from stream.spans import BatchTrace, Spans

log = structlog.get_logger(__name__)

Headers = Sequence[tuple[str, bytes]]

TRACEPARENT = "traceparent"
TRACEPARENT_BYTES = 55
FLUSH_DEADLINE_S = 1.0


class _Tracer:
    spans: Spans | None = None


_TRACED: ContextVar[BatchTrace | None] = ContextVar("traced", default=None)


def start(role: str) -> None:
    """Traces from now on as service rgalign-<role>, if the environment asks for it."""
    asked = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not asked or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from stream.spans import Spans, exporting  # noqa: PLC0415 - OpenTelemetry is an extra, and slow to import
    except ImportError as error:
        log.warning("not_tracing", error=str(error), action="pip install 'rgalign-rec[tracing]', or unset OTEL_*")
        return
    use(Spans(exporting(os.environ.get("OTEL_SERVICE_NAME", f"rgalign-{role}"))))
    log.info("tracing", collector=asked)


def use(spans: Spans | None) -> None:
    """Traces with `spans` from now on; None ends it."""
    _Tracer.spans = spans


def stop() -> None:
    """Sends what is left, within `FLUSH_DEADLINE_S`."""
    if _Tracer.spans is not None:
        _Tracer.spans.flush(FLUSH_DEADLINE_S)
        use(None)


def carried(headers: Headers) -> bytes | None:
    """The `traceparent` of a record that is to be traced: there is one, sampled, and this process traces."""
    if _Tracer.spans is None:
        return None
    for name, value in headers:
        if name == TRACEPARENT:
            is_sampled = value is not None and len(value) == TRACEPARENT_BYTES and value[-1:] in b"13579bdf"
            return value if is_sampled else None
    return None


@contextlib.contextmanager
def request(route: str, headers: Mapping[str, str]) -> Iterator[None]:
    """The span of a request, in the trace that its own headers name, if any."""
    if _Tracer.spans is None:
        yield
        return
    with _Tracer.spans.request(route, headers):
        yield


def outgoing() -> Headers:
    """The record headers that carry the request's span on; none when it is not sampled."""
    return () if _Tracer.spans is None else _Tracer.spans.outgoing()


@contextlib.contextmanager
def batch(taken: Batch) -> Iterator[None]:
    """The span of a batch, if it holds a record that is to be traced; `stage` and `decided` add to it."""
    trace = _trace_of(taken)
    if trace is None:
        yield
        return
    token = _TRACED.set(trace)
    try:
        yield
    except BaseException as error:
        trace.fail(error)
        raise
    finally:
        _TRACED.reset(token)
        trace.end()


def _trace_of(taken: Batch) -> BatchTrace | None:
    if _Tracer.spans is None:
        return None
    sampled = {r.offset: parent for r in taken.records if r.headers and (parent := carried(r.headers)) is not None}
    return _Tracer.spans.batch(taken, sampled) if sampled else None


class stage:  # noqa: N801 - reads as a statement: with stage("decode")
    """Times one stage of a batch, for the metrics and for the trace that the batch may have."""

    __slots__ = ("_began_ns", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._began_ns = 0

    def __enter__(self) -> None:
        self._began_ns = time.perf_counter_ns()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        passed_ns = time.perf_counter_ns() - self._began_ns
        STAGE_SECONDS.labels(self._name).observe(passed_ns / 1e9)
        trace = _TRACED.get()
        if trace is not None:
            trace.stage(self._name, passed_ns)


def decided(decision: Decision) -> Headers:
    """The record headers that carry a decision's span on; none when its trigger is not traced."""
    trace = _TRACED.get()
    return () if trace is None else trace.decided(decision)


def pushed(traceparent: bytes | None, decision_id: str, since_ms: int) -> None:
    """A decision was handed to a stream; its record is of `since_ms`."""
    if traceparent is not None and _Tracer.spans is not None:
        _Tracer.spans.pushed(traceparent, decision_id, since_ms)
