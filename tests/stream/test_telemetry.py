import json
import logging

import httpx
import pytest
import structlog

from stream import telemetry


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
