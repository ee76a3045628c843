"""The statistics job on a real log: the same snapshot from any reading, published once, followed and readable."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kafka import KafkaProducer

from deploy.intent_statistics import StatisticsJob
from deploy.log_reader import whole_topic
from features.contract import from_ms
from features.decisions import Decision, Outcome
from features.redis_client import open_redis
from features.settings import Connections
from features.store import OnlineRows, ViewRow
from features.views import INTENT_STATS, project
from stream import topics as named
from stream.live_stats import LiveStatistics
from training.intent_stats import LATENESS_MS, TILE_MS
from training.replay import Window, replay
from training.snapshots import unfounded

START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000


def decision(number: int, at_ms: int, intents: tuple[str, ...] = ("a", "b")) -> Decision:
    prompts = [
        {"intent_id": i, "text": i, "locale": "en", "position": p, "score": 0.5, "propensity": 0.5}
        for p, i in enumerate(intents, start=1)
    ]
    return Decision.model_validate(
        {
            "decision_id": f"d{number}", "tenant": "demo", "user": f"u{number % 3}", "session": "s1",
            "decision": "show", "reason": "ranked", "time": from_ms(at_ms), "made_at": from_ms(at_ms),
            "prompts": prompts, "slate_propensity": 1.0, "candidates": {"intent_ids": [], "scores": []},
            "features": {"numeric": {}, "categorical": {}, "event_kinds": [], "event_ages_s": []},
            "versions": {"model": "m", "kb": "k", "features": "f", "policy": "p"},
            "embedding": {"state": "null", "space_id": "s", "state_hash": "h"},
            "trigger_event": "e", "trigger_type": "chat_opened", "trigger_offset": f"t[0]@{number}", "latency_ms": 1.0,
        }
    )  # fmt: skip


def log(connections: Connections, numbers: range, intents: tuple[str, ...] = ("a", "b")) -> int:
    """Decisions a minute apart, seen at once and clicked on their first intent; returns the last record's time."""
    producer = KafkaProducer(bootstrap_servers=connections.kafka_url)
    at_ms = START_MS
    for number in numbers:
        at_ms = START_MS + number * 60_000
        made = decision(number, at_ms, intents)
        told: dict[str, object] = {"decision_id": made.decision_id, "time": made.time, "user": made.user}
        seen = Outcome.model_validate({"id": f"s{number}", "kind": "shown", **told})
        click = Outcome.model_validate({"id": f"c{number}", "kind": "clicked", "intent_id": intents[0], **told})
        for topic, message in ((named.DECISIONS, made), (named.OUTCOMES, seen), (named.OUTCOMES, click)):
            name = connections.named(topic.name)
            producer.send(name, message.to_json(), message.key.encode(), timestamp_ms=at_ms)
    producer.flush(10)
    producer.close()
    return at_ms


def online(connections: Connections, intent_id: str, now_ms: int) -> ViewRow:
    async def read() -> ViewRow:
        async with open_redis(connections) as redis:
            rows = OnlineRows(redis, project(connections.prefix))
            return (await rows.read([INTENT_STATS.name], [f"demo:{intent_id}"], now_ms))[0][INTENT_STATS.name]

    return asyncio.run(read())


def in_force(connections: Connections) -> LiveStatistics:
    live = LiveStatistics("demo")
    asyncio.run(live.apply(whole_topic(connections, named.INTENT_STATS.name)))
    return live


def test_a_snapshot_is_published_once_and_workers_and_online_rows_have_it(topics: Connections) -> None:
    last_ms = log(topics, range(30))
    snapshot = StatisticsJob(topics).step(last_ms + HOUR_MS)
    assert snapshot is not None
    assert snapshot.until_ms == START_MS + (last_ms - START_MS - LATENESS_MS) // TILE_MS * TILE_MS
    assert {s.intent_id: (s.shown, s.clicked) for s in snapshot.intents} == {"a": (10, 10), "b": (10, 0)}
    assert in_force(topics).version == snapshot.version
    row = online(topics, "a", snapshot.until_ms)
    assert (row.values["version"], row.values["shown"], row.values["clicked"]) == (snapshot.version, 10, 10)
    before = len(whole_topic(topics, named.INTENT_STATS.name))
    assert StatisticsJob(topics).step(last_ms + HOUR_MS) is None
    assert len(whole_topic(topics, named.INTENT_STATS.name)) == before


def test_a_job_that_reads_on_and_one_that_begins_anew_publish_the_same_bytes(topics: Connections) -> None:
    job = StatisticsJob(topics)
    job.step(log(topics, range(25)) + HOUR_MS)
    last_ms = log(topics, range(25, 60), ("b", "c"))
    anew = StatisticsJob(topics)
    assert job.step(last_ms + HOUR_MS) == anew.step(last_ms + HOUR_MS)
    records = whole_topic(topics, named.INTENT_STATS.name)
    newest = {record.key: record.value for record in records if record.value is not None}
    assert len(records) == 2 + 2 * len(newest)
    assert sorted(records[-len(newest) :], key=lambda r: r.key) == records[-len(newest) :]


def test_an_intent_that_left_the_window_leaves_the_topic(topics: Connections) -> None:
    job = StatisticsJob(topics)
    job.step(log(topics, range(30)) + HOUR_MS)
    week = 7 * 24 * 60
    job.step(log(topics, range(week + 60, week + 90), ("c", "d")) + HOUR_MS)
    alive = {r.key: r.value for r in whole_topic(topics, named.INTENT_STATS.name)}
    assert {key for key, value in alive.items() if value is not None} == {b"demo:c", b"demo:d"}
    assert set(in_force(topics).intents) == {"c", "d"}


def test_a_version_is_founded_when_the_replayed_log_leads_to_it(topics: Connections, tmp_path: Path) -> None:
    snapshot = StatisticsJob(topics).step(log(topics, range(30)) + HOUR_MS)
    assert snapshot is not None
    replay(topics, tmp_path / "log")
    other = f"{snapshot.version[:-1]}~"
    assert unfounded(tmp_path / "log", "demo", [snapshot.version]) == {}
    assert unfounded(tmp_path / "log", "demo", [other, "nonsense"]).keys() == {other, "nonsense"}
    replay(topics, tmp_path / "late", Window(since_ms=START_MS + 600_000))
    assert unfounded(tmp_path / "late", "demo", [snapshot.version]) == {}, "the log no longer holds its whole window"
