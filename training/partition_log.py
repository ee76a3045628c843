"""One partition of a replayed log: its events in order, the decisions they triggered, and the users' outcomes.

Users stay in one partition on every topic that is keyed by user, so a partition can be worked on by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from features.acceptance import accepted
from features.contract import InvalidEvent, parse, to_ms
from features.decisions import Decision, FeatureRow, Outcome
from features.fold import effective_ms
from training.log_files import Source, records
from training.rebuild import Logged, LogRecord


@dataclass(frozen=True, slots=True)
class Served:
    """What a logged decision says of its inputs; `trigger` is topic[partition]@offset."""

    decision_id: str
    trigger: str
    at_ms: int
    made_ms: int
    is_show: bool
    feedback_offset: int | None
    schema: str
    model: str
    intent_stats: str
    features_json: bytes

    @property
    def offset(self) -> int:
        """The trigger's offset."""
        return int(self.trigger.rpartition("@")[2])

    @property
    def row(self) -> FeatureRow:
        """The ranker's input as served."""
        return FeatureRow.model_validate_json(self.features_json)


class Told(NamedTuple):
    """An outcome of the log and the event time that is believed."""

    offset: int
    at_ms: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PartitionLog:
    """`events` may be iterated again and again; `decisions` are by their trigger's offset, `outcomes` by user.

    `first_offset` is where the events begin: above 0, earlier ones are gone.
    """

    number: int
    first_offset: int
    events: Iterable[LogRecord]
    decisions: Mapping[int, Sequence[Served]]
    outcomes: Mapping[str, Sequence[Told]]


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one partition of a source in a replayed folder, in order of offset, however days overlap."""

    root: Path
    source: Source
    number: int

    def __iter__(self) -> Iterator[Logged]:
        return map(Logged._make, records(self.root, self.source, self.number))


def read_partition(root: Path, number: int, first_offset: int) -> PartitionLog:
    """A partition of the folder that `training.replay` wrote."""
    return PartitionLog(
        number,
        first_offset,
        Records(root, "events", number),
        decisions_by_trigger(Records(root, "decisions", number)),
        outcomes_by_user(Records(root, "outcomes", number)),
    )


def decisions_by_trigger(found_in: Iterable[LogRecord]) -> dict[int, list[Served]]:
    """The readable decisions by the offset of their trigger, each in order of the log."""
    found: dict[int, list[Served]] = {}
    for record in found_in:
        try:
            decision = parse(Decision, record.value or b"")
        except InvalidEvent:
            continue
        served = _served(decision)
        found.setdefault(served.offset, []).append(served)
    return found


def outcomes_by_user(found_in: Iterable[LogRecord]) -> dict[str, list[Told]]:
    """The outcomes that the stream takes in, by "tenant:user", in order of the log."""
    found: dict[str, list[Told]] = {}
    for record in found_in:
        try:
            outcome = accepted(Outcome, record.key, record.value)
        except InvalidEvent:
            continue
        at_ms = effective_ms(to_ms(outcome.time), record.timestamp_ms)
        found.setdefault(outcome.key, []).append(Told(record.offset, at_ms, outcome))
    return found


def _served(decision: Decision) -> Served:
    return Served(
        decision_id=decision.decision_id,
        trigger=decision.trigger_offset,
        at_ms=to_ms(decision.time),
        made_ms=to_ms(decision.made_at),
        is_show=decision.decision == "show",
        feedback_offset=decision.feedback_offset,
        schema=decision.versions.features,
        model=decision.versions.model,
        intent_stats=decision.versions.intent_stats,
        features_json=orjson.dumps(decision.features.model_dump()),
    )
