"""`rgalign topics lag` against a real broker: what a group told Kafka, what the ledger holds, what is left."""

from __future__ import annotations

import asyncio
import json

import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from typer.testing import CliRunner

from deploy import lag_report, log_reader
from deploy.cli import app
from features.ledger import Counts, Ledger
from features.redis_client import open_redis
from features.settings import Connections
from stream.settings import GROUP
from stream.topics import EVENTS
from tests.stream import stage


def committed(connections: Connections, partition: int, offset: int) -> None:
    consumer = KafkaConsumer(bootstrap_servers=connections.kafka_url, group_id=connections.named(GROUP))
    consumer.commit({TopicPartition(connections.named(EVENTS.name), partition): OffsetAndMetadata(offset, "", -1)})
    consumer.close()


def applied(connections: Connections, partition: int, last: int) -> None:
    async def apply() -> None:
        async with open_redis(connections) as redis:
            ledger = Ledger(redis, connections.named(EVENTS.name), connections.prefix)
            claim = await ledger.claim(partition)
            await ledger.commit(partition, claim.epoch, 0, last, {}, Counts(applied=last + 1), 0)

    asyncio.run(apply())


def logged(connections: Connections, records: int) -> int:
    """The partition that holds all records of one user."""
    stage.send(connections, [stage.event(number) for number in range(records)])
    return next(p.partition for p in lag_report.lag(connections).positions if p.end)


def at(report: lag_report.Report, partition: int) -> lag_report.Position:
    return next(p for p in report.positions if p.topic.endswith(EVENTS.name) and p.partition == partition)


def test_without_commits_everything_in_the_log_is_behind(topics: Connections):
    partition = logged(topics, 7)
    report = lag_report.lag(topics)
    found = at(report, partition)
    assert (found.committed, found.ledger, found.behind, report.behind) == (None, 0, 7, 7)
    assert 0 <= (found.seconds or -1) < 3600
    assert len(report.positions) == 3 * 4


def test_the_ledger_and_not_the_committed_offset_says_what_is_behind(topics: Connections):
    partition = logged(topics, 7)
    committed(topics, partition, 3)
    applied(topics, partition, last=4)
    found = at(lag_report.lag(topics), partition)
    assert (found.committed, found.ledger, found.end, found.behind) == (3, 5, 7, 2)


def test_the_command_prints_a_table_with_a_total_or_json(topics: Connections, monkeypatch: pytest.MonkeyPatch):
    partition = logged(topics, 7)
    applied(topics, partition, last=6)
    for name, value in topics.environment().items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, ["topics", "lag"])
    told = json.loads(CliRunner().invoke(app, ["topics", "lag", "--json"]).stdout)
    assert (shown.exit_code, "total" in shown.stdout, "rgalign-embedder" in shown.stdout) == (0, True, True)
    assert (told["behind"], told["seconds"], told["ledger_error"], len(told["positions"])) == (0, 0.0, None, 12)


def test_without_redis_kafkas_offsets_are_told_and_why(topics: Connections):
    partition = logged(topics, 7)
    committed(topics, partition, 3)
    report = lag_report.lag(topics.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    found = at(report, partition)
    assert (found.ledger, found.behind) == (None, 4)
    assert "REDIS_URL" in (report.ledger_error or "")


def test_without_kafka_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log_reader, "BOOTSTRAP_MS", 100)
    with pytest.raises(ConnectionError, match="KAFKA_URL"):
        lag_report.lag(Connections(kafka_url="127.0.0.1:1"))
