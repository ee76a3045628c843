"""The topics: their names, sizes and how they are created - explicitly, never by auto-create."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError, for_code

from features.kafka_client import open_kafka
from features.settings import Connections

MIB = 1024 * 1024
KNOWN_DEADLINE_S = 30.0
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as this project needs it. `keyed` topics share one partition count, so that users stay aligned."""

    name: str
    purpose: str
    keyed: bool = True
    config: Mapping[str, str] = field(default_factory=dict)


def _kept(days: int, max_bytes: int = MIB) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS), "max.message.bytes": str(max_bytes)}


_COMPACTED = {"cleanup.policy": "compact", "max.message.bytes": str(MIB)}

EVENTS = Topic("shop.user.events.v1", "what shoppers do and what happens to their orders", config=_kept(7))
DECISIONS = Topic("rgalign.decisions.v1", "the impression log: every show, silence and holdout", config=_kept(30))
OUTCOMES = Topic("rgalign.outcomes.v1", "shown, clicked, dismissed, converted, typed_query", config=_kept(30))
QUERIES = Topic("rgalign.queries.requested.v1", "prompts with a new meaning, to be embedded", config=_kept(1))
REFRESHED = Topic("rgalign.queries.refreshed.v1", "users whose missing latent query is there now", config=_kept(1))
KB = Topic("rgalign.kb.v1", "the knowledge base, one record an intent", keyed=False, config=_COMPACTED)
MODELS = Topic("rgalign.models.v1", "the bundle to stage and the bundle to serve", keyed=False, config=_COMPACTED)
INTENT_STATS = Topic("rgalign.intent-stats.v1", "snapshots of intent statistics", keyed=False, config=_COMPACTED)
ERASED = Topic("rgalign.subjects.erased.v1", "users who asked to be forgotten", config=_kept(30))
EVENTS_DLQ = Topic("shop.user.events.v1.dlq", "events set aside, bytes untouched", config=_kept(30, 2 * MIB))
OUTCOMES_DLQ = Topic("rgalign.outcomes.v1.dlq", "outcomes set aside, bytes untouched", config=_kept(30, 2 * MIB))

TOPICS: tuple[Topic, ...] = (
    EVENTS, DECISIONS, OUTCOMES, QUERIES, REFRESHED, KB, MODELS, INTENT_STATS, ERASED, EVENTS_DLQ, OUTCOMES_DLQ,
)  # fmt: skip


class WrongPartitionCount(RuntimeError):
    """A topic exists with another partition count than the deployment was set up with."""


def create(connections: Connections, partitions: int = 4, replication: int = 1) -> list[str]:
    """Creates the topics that are missing; returns their names. Raises `WrongPartitionCount` for one that differs."""
    admin = open_kafka(KafkaAdminClient, connections)
    counts = {connections.named(topic.name): partitions if topic.keyed else 1 for topic in TOPICS}
    wanted = [
        NewTopic(name, counts[name], replication, topic_configs=dict(topic.config))
        for name, topic in zip(counts, TOPICS, strict=True)
    ]
    try:
        answers = {row["name"]: row for row in admin.create_topics(wanted, raise_errors=False)["topics"]}
        created = [name for name in counts if answers[name]["error_code"] == 0]
        for name in counts.keys() - created:
            _check_exists(admin, answers[name], counts[name])
        _wait_until_known(admin, created)
        return created
    finally:
        admin.close()


def _wait_until_known(admin: KafkaAdminClient, names: Sequence[str]) -> None:
    """Returns when the broker lists the new topics: a creation is acknowledged before every broker knows of it."""
    deadline = time.monotonic() + KNOWN_DEADLINE_S
    while missing := set(names) - set(admin.list_topics()):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"after {KNOWN_DEADLINE_S:.0f} s the broker does not list {sorted(missing)}: see its log"
            )
        time.sleep(0.05)


def _check_exists(admin: KafkaAdminClient, answer: Mapping[str, Any], expected: int) -> None:
    """Passes when a topic was not created because it is there as expected; raises the broker's error otherwise."""
    name, error = answer["name"], for_code(answer["error_code"])
    if error is not TopicAlreadyExistsError:
        raise error(f"topic {name} was not created: {answer['error_message']}")
    found = partition_counts(admin, [name])[name]
    if found != expected:
        raise WrongPartitionCount(
            f"topic {name} has {found} partitions, expected {expected}: state is kept by partition, so the count "
            f"is fixed; run with --partitions {found}, or choose another RGALIGN_PREFIX"
        )


def partition_counts(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """How many partitions each named topic has."""
    return {row["name"]: len(row["partitions"]) for row in admin.describe_topics(list(names))}
