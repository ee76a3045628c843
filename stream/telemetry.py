"""What every role tells about itself: structured logs, Prometheus metrics, and a small health server."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from stream.batch_histogram import BatchHistogram

REGISTRY = CollectorRegistry(auto_describe=True)
"""The process's metrics. Units are base units; a user or an intent is never a label."""

for _collector in (ProcessCollector, PlatformCollector, GCCollector):
    _collector(registry=REGISTRY)

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"rgalign_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"rgalign_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"rgalign_{name}", text, labels, buckets=buckets, registry=REGISTRY)


EVENTS = _counter(
    "events",
    "Records of the event topic, by where each ended: applied|late|duplicate|dead_lettered",
    "outcome",
)
DECISIONS = _counter("decisions", "Decisions made: show|silent|holdout, and why", "decision", "reason")
OUTCOMES = _counter("outcomes", "Outcomes folded, by kind", "kind")
DEAD_LETTERS = _counter("dead_letters", "Records set aside with their original bytes", "topic", "reason")
FENCED_WRITES = _counter("fenced_writes", "Commits refused because a newer owner holds the partition")
REPLAYED_RECORDS = _counter("replayed_records", "Records refused by the ledger: applied before", "topic")
STORE_RETRIES = _counter("store_retries", "Calls to Redis repeated after a fault that may pass")
SWAPS = _counter("swaps", "Model bundles offered to this worker: swapped|refused|failed", "result")
QUERY_CACHE = _counter("query_cache", "Latent queries at decision time: fresh|stale|null", "state")
QUERIES_EMBEDDED = _counter(
    "queries_embedded", "Latent query requests: computed|cached|superseded|dropped|retried|failed", "result"
)
REASONER_FAILURES = _counter(
    "reasoner_failures",
    "Calls of the reasoner without a sound vector for each prompt: oom|late|error|width|not_finite",
    "kind",
)
QUERIES_REFUSED = _counter(
    "queries_refused", "Stored latent queries that a ranker was not given: other_space|unsound", "reason"
)
REFINED = _counter(
    "refined_decisions",
    "Shown slates ranked again after a refresh: changed|unchanged|over|answered|not_possible",
    "result",
)
INTERRUPTED = _counter(
    "interrupted_messages", "Decisions and query requests that Kafka did not acknowledge; never repeated", "topic"
)

STAGE_SECONDS = _histogram("stage_seconds", "Time of one pipeline stage for one micro-batch", _FAST, "stage")
DECISION_SECONDS = _histogram(
    "decision_latency_seconds", "From the broker's timestamp of the trigger to the decision", (*_FAST, 5.0, 10.0, 60.0)
)
BATCH_RECORDS = _histogram("batch_records", "Records in one micro-batch", (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000))

FRESHNESS_SECONDS = BatchHistogram(
    "rgalign_freshness_seconds",
    "From a record's time (since: event|broker) to its effect in the store (until: state|row)",
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86_400.0),
    ("since", "until"),
    REGISTRY,
)

WATERMARK_DELAY_SECONDS = _gauge(
    "watermark_delay_seconds", "Wall clock minus the partition's watermark, at its last batch", "partition"
)
CONSUMER_LAG_RECORDS = _gauge(
    "consumer_lag_records", "Records of a partition in the log whose effects are not in place", "topic", "partition"
)
UNPROJECTED_USERS = _gauge("unprojected_users", "Users whose online rows wait to be written after their states")
QUEUED_QUERIES = _gauge("queued_queries", "Latent query requests that wait in the embedder")
OLDEST_QUERY_WAIT_SECONDS = _gauge(
    "oldest_query_wait_seconds", "How long the user who waits longest has waited in the embedder, since the request"
)
QUERY_WAIT_SECONDS = _histogram(
    "query_wait_seconds",
    "From a latent query's request to its row in the store",
    (*_FAST, 5.0, 10.0, 30.0, 60.0, 300.0),
)
SERVED_QUERY_AGE_SECONDS = _histogram(
    "served_query_age_seconds",
    "Age of the stale latent queries that decisions were made with",
    (1.0, 10.0, 60.0, 300.0, 3600.0, 21_600.0, 86_400.0, 604_800.0),
)
SPACE_READY_RATIO = _gauge("space_ready_ratio", "Share of the traffic's latent queries that the filled space has")
MODEL_LOADED_TIMESTAMP_SECONDS = _gauge("model_loaded_timestamp_seconds", "When the serving bundle was swapped in")

HTTP_REQUESTS = _counter("http_requests", "Requests answered by the gateway", "route", "status")
HTTP_ITEMS = _counter("http_items", "Events and outcomes posted: accepted|duplicate|rejected", "route", "result")
STREAMS = _gauge("streams", "Open decision streams")
STREAMS_DROPPED = _counter("streams_dropped", "Decision streams ended by the gateway: slow|drain", "reason")
FEED_DECISIONS = _gauge("feed_decisions", "Decisions held by the gateway's ring")
FEED_DELAY_SECONDS = _histogram(
    "feed_delay_seconds", "From a decision's making to its arrival in the gateway", (*_FAST, 5.0, 10.0, 60.0)
)


def observe_freshness(since: str, until: str, times_ms: Sequence[int], now_ms: int) -> None:
    """Adds the ages in ms of many records to `FRESHNESS_SECONDS`; times <= 0 are unknown and left out."""
    times = np.array(times_ms, np.int64)
    FRESHNESS_SECONDS.observe((since, until), (now_ms - times[times > 0]) / 1000)


def configure_logging(level: int = logging.INFO) -> None:
    """Structured logs to stderr: JSON lines, or coloured text when a person watches in a terminal.

    The standard library's loggers (faust, uvicorn, kafka) are sent through the same formatter.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_renderers()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _renderers() -> list[structlog.typing.Processor]:
    forget = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if sys.stderr.isatty():
        return [forget, structlog.dev.ConsoleRenderer()]
    return [forget, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


Readiness = Callable[[], tuple[bool, dict[str, object]]]
"""Says whether this role can do its work now, and what that depends on (shown by /readyz)."""


def metrics_page() -> tuple[bytes, str]:
    """All metrics in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


async def serve_health(port: int, ready: Readiness, host: str = "127.0.0.1") -> web.AppRunner:
    """Serves /livez, /readyz and /metrics until the returned runner's `cleanup()` is awaited.

    Port 0 takes a free one (see `runner.addresses`). /readyz answers 503 while `ready` says no.
    Raises OSError when the port is taken.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        is_ready, details = ready()
        return web.json_response({"ready": is_ready, **details}, status=200 if is_ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        page, content_type = metrics_page()
        return web.Response(body=page, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


@contextlib.asynccontextmanager
async def serving_health(port: int, ready: Readiness, host: str) -> AsyncIterator[None]:
    """`serve_health` for as long as the context lasts; port 0 serves nothing."""
    if not port:
        yield
        return
    runner = await serve_health(port, ready, host)
    try:
        yield
    finally:
        await runner.cleanup()
