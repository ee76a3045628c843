import json
import logging
import re
import time
from pathlib import Path

import httpx
import pytest
import structlog
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from features.settings import Connections
from stream import telemetry
from stream.batch_histogram import BatchHistogram
from stream.topics import EVENTS
from tests.stream import stage
from tests.stream.test_app import free_port

SOURCE = "".join(path.read_text() for path in (stage.ROOT / "stream").glob("*.py"))
METRICS = {name for name, it in vars(telemetry).items() if isinstance(it, MetricWrapperBase | BatchHistogram)}


async def asked(path: str, ready: telemetry.Readiness = lambda: (True, {})):
    runner = await telemetry.serve_health(0, ready)
    try:
        host, port = runner.addresses[0]
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://{host}:{port}{path}")
    finally:
        await runner.cleanup()


async def test_livez_answers_while_the_loop_runs():
    assert (await asked("/livez")).json() == {"status": "alive"}


async def test_readyz_says_what_is_missing():
    reply = await asked("/readyz", lambda: (False, {"bundle": "none"}))
    assert reply.status_code == 503
    assert reply.json() == {"ready": False, "bundle": "none"}


async def test_metrics_are_prometheus_text_with_our_names():
    telemetry.EVENTS.labels(outcome="applied").inc()
    reply = await asked("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert 'rgalign_events_total{outcome="applied"}' in reply.text


def test_every_metric_is_set_somewhere():
    used = re.findall(r"\b([A-Z_]+)(?:\.labels\([^)]*\))?\.(?:inc|set|observe|remove)\(", SOURCE)
    assert METRICS - set(used) == set()


def test_logs_name_a_record_by_its_topic_partition_and_offset():
    calls = re.findall(r"log\.[a-z]+\((?:[^()]|\([^()]*\))*\)", SOURCE)
    assert len(calls) > 30
    assert not [call for call in calls if re.search(r"\b(offset|partition|origin)=", call)]


def test_names_are_ours_and_in_base_units():
    names = {family.name for family in telemetry.REGISTRY.collect()}
    names = {name for name in names if not name.startswith(("python_", "process_"))}
    assert all(name.startswith("rgalign_") for name in names)
    assert not {name for name in names if re.search(r"_(ms|millis\w*|minutes|kib|mib|percent)$", name)}


def scraped(url: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values in the order of their names."""
    page = httpx.get(url.replace("/readyz", "/metrics")).text
    families = text_string_to_metric_families(page)
    return {
        (sample.name.removeprefix("rgalign_"), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_workers_metrics_add_up_and_end_without_lag(topics: Connections, bundle: Path, tmp_path: Path):
    stage.released(topics, bundle)
    events = [stage.event(i, user=f"u{i % 20}", kind="product_viewed") for i in range(200)]
    events += [events[0], stage.event(999, user="u1")]
    with stage.worker(topics, tmp_path / "w.log", free_port(), RGALIGN_POLICY_FLOOR="0") as worker:
        worker.wait_ready()
        stage.send(topics, [*events, (b"demo:u1", b"{")])
        stage.counted(topics, 203)
        stage.decisions(topics, at_least=1)
        found = settled(worker.health)
    assert {outcome: found["events_total", outcome] for outcome in ("applied", "duplicate", "dead_lettered")} == {
        "applied": 201, "duplicate": 1, "dead_lettered": 1
    }  # fmt: skip
    topic = topics.named(EVENTS.name)
    assert [found["consumer_lag_records", str(p), topic] for p in range(4)] == [0, 0, 0, 0]
    assert found["dead_letters_total", "bad_json", topic] == 1
    assert found["batch_records_sum",] == 203
    assert found["freshness_seconds_count", "broker", "state"] == 203
    assert found["freshness_seconds_count", "event", "state"] == 202
    assert found["freshness_seconds_count", "event", "row"] >= 20
    assert found["freshness_seconds_sum", "broker", "row"] > 0
    assert (found["decision_latency_seconds_count",], found["unprojected_users",]) == (1, 0)
    stages = {name for kind, *rest in found if kind == "stage_seconds_count" for name in rest}
    assert stages == {"decode", "load", "fold", "queries", "rank", "decide", "commit", "publish", "project"}


def settled(health: str) -> dict[tuple[str, ...], float]:
    """The metrics once the lag was told after the last batch, or after 10 s."""
    for _ in range(100):
        found = scraped(health)
        lags = [value for (kind, *_), value in found.items() if kind == "consumer_lag_records"]
        if lags and not any(lags) and found["unprojected_users",] == 0:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def test_no_metric_has_a_user_or_an_intent_as_label():
    labels = {label for family in telemetry.REGISTRY.collect() for sample in family.samples for label in sample.labels}
    assert not labels & {"user", "tenant", "intent", "intent_id"}


def test_logs_are_json_lines_on_stderr(capsys: pytest.CaptureFixture[str]):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    telemetry.configure_logging()
    try:
        structlog.get_logger("stream").warning("query_stale", origin="t[0]@7", age_ms=12)
        logging.getLogger("faust").info("ready")
    finally:
        root.handlers[:], root.level = before, level
        structlog.reset_defaults()
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["origin"], first["level"]) == ("query_stale", "t[0]@7", "warning")
    assert (second["event"], second["logger"]) == ("ready", "faust")
