"""What the log says beside states: ids, dead letters, decisions, committed offsets, read by independent consumers."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from deploy.log_reader import whole_topic
from features.contract import origin, parse
from features.decisions import Decision
from features.settings import Connections
from stream.dead_letters import letter_of
from stream.settings import GROUP
from stream.topics import DECISIONS, EVENTS, EVENTS_DLQ
from tests.faults.oracle import Expected


def by_partition(records: Sequence[Any], partitions: int) -> dict[int, list[Any]]:
    """kafka-python's records by partition, in order of offset."""
    found: dict[int, list[Any]] = {number: [] for number in range(partitions)}
    for record in records:
        found[record.partition].append(record)
    return {number: sorted(some, key=lambda record: record.offset) for number, some in found.items()}


def ids(log: Mapping[int, Sequence[Any]]) -> set[str]:
    """All event ids that stand in the log, whatever became of them."""
    found = set()
    for record in (record for records in log.values() for record in records):
        with contextlib.suppress(ValueError, RecursionError, TypeError):
            event = json.loads(record.value or b"")
            if isinstance(event, dict) and isinstance(event.get("id"), str):
                found.add(event["id"])
    return found


def not_in_dlq(connections: Connections, expected: Mapping[int, Expected], log: Mapping[int, list[Any]]) -> int:
    """Dead records whose key, bytes and origin are not in the dead-letter topic under a reason."""
    topic = connections.named(EVENTS.name)
    kept: dict[str, set[tuple[Any, Any]]] = defaultdict(set)
    for record in whole_topic(connections, EVENTS_DLQ.name):
        letter = letter_of(record.headers)
        if letter.reason:
            kept[letter.origin].add((record.key, record.value))
    return sum(
        (record.key, record.value) not in kept[origin(topic, number, record.offset)]
        for number, found in expected.items()
        for record in log[number]
        if record.offset in found.dead
    )


def decisions_amiss(connections: Connections) -> tuple[int, int]:
    """Decisions that stand twice in the log, and those that stand before an older one of the same user."""
    seen: set[str] = set()
    last: dict[str, int] = {}
    twice = disordered = 0
    for record in sorted(whole_topic(connections, DECISIONS.name), key=lambda r: (r.partition, r.offset)):
        decision = parse(Decision, record.value)
        twice += decision.decision_id in seen
        seen.add(decision.decision_id)
        offset = int(decision.trigger_offset.rpartition("@")[2])
        disordered += offset < last.get(decision.key, -1)
        last[decision.key] = max(offset, last.get(decision.key, -1))
    return twice, disordered


def uncommitted(connections: Connections, partitions: int) -> int:
    """Records beyond the offsets that the workers' group has committed."""
    consumer = KafkaConsumer(
        bootstrap_servers=connections.kafka_url, group_id=connections.named(GROUP), enable_auto_commit=False
    )
    try:
        places = [TopicPartition(connections.named(EVENTS.name), number) for number in range(partitions)]
        ends = consumer.end_offsets(places)
        return sum(max(ends[place] - (consumer.committed(place) or 0), 0) for place in places)
    finally:
        consumer.close()
