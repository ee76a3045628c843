"""The worker as a process: a prompt for an event, exact accounts after a crash, an orderly end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from deploy.embedded import Embedded
from deploy.log_reader import whole_topic
from features.settings import Connections
from stream.dead_letters import letter_of
from stream.topics import EVENTS_DLQ, create
from tests.stream import stage


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_an_event_leads_to_a_logged_decision_and_sigterm_ends_the_worker_with_0(
    topics: Connections, bundle: Path, tmp_path: Path
) -> None:
    version = stage.released(topics, bundle)
    with stage.worker(topics, tmp_path / "w.log", free_port(), RGALIGN_POLICY_FLOOR="0") as worker:
        worker.wait_ready()
        stage.send(topics, [stage.event(1)])
        (decision,) = stage.decisions(topics, at_least=1)
        assert worker.stop() == 0, worker.log.read_text()
    assert (decision.decision, decision.reason, decision.versions.model) == ("show", "ranked", version)
    assert decision.embedding.state == "null"
    assert 0 <= decision.latency_ms < 10_000


def test_a_killed_worker_loses_nothing_and_applies_nothing_twice(
    topics: Connections, bundle: Path, tmp_path: Path
) -> None:
    stage.released(topics, bundle)
    events = [stage.event(i, user=f"u{i % 300}", kind="product_viewed") for i in range(20_000)]
    with (
        stage.worker(topics, tmp_path / "a.log", free_port()) as first,
        stage.worker(topics, tmp_path / "b.log", free_port()) as second,
    ):
        first.wait_ready()
        second.wait_ready()
        stage.send(topics, events[:10_000])
        first.kill()
        stage.send(topics, events[10_000:])
        counts = stage.counted(topics, len(events))
        assert second.stop() == 0, second.log.read_text()[-3000:]
    assert (counts.records, counts.applied) == (20_000, 20_000)


def test_malformed_events_are_set_aside_with_their_bytes_and_everything_adds_up(
    topics: Connections, bundle: Path, tmp_path: Path
) -> None:
    stage.released(topics, bundle)
    good = stage.event(1).to_json()
    poison = [
        b"", b"{", b"\xff\xfe", b"[" * 10_000, b'{"id": NaN}', b"null", good.replace(b'"e1"', b'"\\ud800"'),
        good.replace(b"help_page_opened", b"searched"), good.replace(b'"u1"', b'"' + b"x" * 300_000 + b'"'),
        good.replace(b'"data":{', b'"data":{"amount":1e308,'), good.replace(b'"data":{', b'"data":{"quantity":"many",'),
    ]  # fmt: skip
    with stage.worker(topics, tmp_path / "w.log", free_port()) as worker:
        worker.wait_ready()
        stage.send(topics, [(b"demo:u1", raw) for raw in poison] + [(b"wrong:key", good), stage.event(2)])
        counts = stage.counted(topics, len(poison) + 2)
    assert (counts.applied, counts.dead_lettered) == (1, len(poison) + 1)
    letters = whole_topic(topics, EVENTS_DLQ.name)
    assert {record.value for record in letters} >= {raw for raw in poison if raw}
    assert {letter_of(record.headers).reason for record in letters} >= {
        "bad_json",
        "bad_field",
        "wrong_key",
        "too_large",
    }


def test_without_a_bundle_the_worker_is_silent_and_says_why(topics: Connections, tmp_path: Path) -> None:
    with stage.worker(topics, tmp_path / "w.log"):
        stage.send(topics, [stage.event(1)])
        (decision,) = stage.decisions(topics, at_least=1, timeout_s=40)
    assert (decision.decision, decision.reason, decision.degraded) == ("silent", "no_model", ["no_model"])


def test_sigterm_ends_the_worker_within_its_deadline_when_the_broker_is_away(
    redis_url: str, prefix: str, bundle: Path, tmp_path: Path
) -> None:
    with Embedded().start(redis=False) as broker:
        there = Connections(kafka_url=broker.kafka_url, redis_url=redis_url, prefix=prefix, registry=tmp_path / "r")
        create(there)
        stage.released(there, bundle)
        with stage.worker(there, tmp_path / "w.log", free_port()) as worker:
            worker.wait_ready()
            broker.supervisor.kill("kafka")
            time.sleep(1)
            began_s = time.monotonic()
            assert worker.stop() == 0, worker.log.read_text()[-3000:]
            assert time.monotonic() - began_s < 10


def test_the_worker_imports_no_torch_and_no_feast() -> None:
    heavy = "{'torch', 'transformers', 'feast', 'training', 'pandas'}"
    code = f"import stream.app, sys; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=stage.ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
