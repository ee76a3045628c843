"""Reading dead letters and sending one to its topic again, for `rgalign topics dlq`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from kafka import KafkaProducer
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from deploy.log_reader import whole_topic
from features.contract import InvalidEvent, parse
from features.decisions import Outcome
from features.events import UserEvent
from features.kafka_client import open_kafka
from features.notices import DeadLetter
from features.settings import Connections
from stream.dead_letters import letter_of
from stream.topics import EVENTS, EVENTS_DLQ, OUTCOMES, OUTCOMES_DLQ, Topic

_QUEUES: tuple[tuple[Topic, Topic, type[UserEvent | Outcome]], ...] = (
    (EVENTS, EVENTS_DLQ, UserEvent),
    (OUTCOMES, OUTCOMES_DLQ, Outcome),
)
"""A topic, the queue of its dead letters, and the contract that its records must keep."""
_PREVIEW = 70


class NoSuchDeadLetter(ValueError):
    """No dead letter has the origin that was asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter with the record it holds, untouched."""

    letter: DeadLetter
    key: bytes | None
    value: bytes


def found(connections: Connections) -> list[Found]:
    """Every dead letter of this deployment, one an origin, oldest first."""
    by_origin: dict[str, Found] = {}
    for _, queue, _ in _QUEUES:
        for record in whole_topic(connections, queue.name):
            letter = letter_of(record.headers)
            by_origin.setdefault(letter.origin, Found(letter, record.key, record.value or b""))
    return sorted(by_origin.values(), key=lambda dead: dead.letter.time)


def listing(connections: Connections, limit: int) -> Group:
    """How many there are by reason, and the newest of them."""
    letters = found(connections)
    reasons = Counter(dead.letter.reason for dead in letters)
    counted = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()) or "none"
    shown = Table("origin", "reason", "why", "bytes", "begins with")
    for dead in letters[-limit:]:
        begins = escape(ascii(dead.value[:_PREVIEW])[2:-1])
        shown.add_row(dead.letter.origin, dead.letter.reason, escape(dead.letter.detail), str(len(dead.value)), begins)
    return Group(f"{len(letters)} dead letters: {counted}", shown)


def redrive(connections: Connections, origin: str, fixed: bytes | None) -> str:
    """Sends one dead letter, or its mended record, to the topic it came from. Returns a line for a person.

    Raises `NoSuchDeadLetter`, or `InvalidEvent` when the record still breaks its contract.
    """
    letters = {dead.letter.origin: dead for dead in found(connections)}
    if origin not in letters:
        known = ", ".join(list(letters)[-3:]) or "none"
        raise NoSuchDeadLetter(f"no dead letter from {origin!r}; the newest are from {known}: see `rgalign topics dlq`")
    dead = letters[origin]
    contract = next(contract for topic, _, contract in _QUEUES if connections.named(topic.name) == dead.letter.topic)
    value = dead.value if fixed is None else fixed
    message = _valid(contract, value, origin)
    producer = open_kafka(KafkaProducer, connections, acks="all")
    try:
        sent = producer.send(dead.letter.topic, key=message.key.encode(), value=value).get(timeout=30)
    finally:
        producer.close()
    return f"sent {len(value)} bytes to {sent.topic}[{sent.partition}]@{sent.offset}"


def _valid(contract: type[UserEvent | Outcome], value: bytes, origin: str) -> UserEvent | Outcome:
    try:
        return parse(contract, value)
    except InvalidEvent as error:
        raise InvalidEvent(
            error.reason, f"{origin} still breaks its contract ({error}): give the mended record with --fixed FILE"
        ) from None
