"""Training-serving skew: the rows that decisions logged against the same rows computed again from the log.

Every cell must be equal to the last bit. What cannot be known is counted beside, never as equal:

    cut          decisions that differ in a partition whose first events the topic no longer keeps, as far as that may
                 be why: in columns that may depend on events of more than 7 days ago, and in all columns where the
                 user has fewer events of the last 7 days in the log than were served
    interrupted  prompt columns after a trigger whose decision a crash dropped (see `training.recomputed`)
    unattributed feedback columns of decisions that do not name their feedback_offset
    other_schema decisions of another version of the columns
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from features.decisions import FeatureRow
from features.schema import fingerprint
from training.log_files import manifest
from training.partition_log import PartitionLog, Served, read_partition
from training.recomputed import FEEDBACK_COLUMNS, PROMPT_COLUMNS, IsTrigger, Moment, recompute
from training.snapshots import NO_SNAPSHOT, unfounded

MAX_EXAMPLES = 20
_ABSENT = "absent"
_SHORT_MEMORY = (
    "events_", "count_1m_", "count_1h_", "session_", "prompts_", "shown_", "clicked_", "dismissed_", "hour_",
    "trigger_",
)  # fmt: skip
"""How columns begin that depend on no event of more than 7 days ago."""

Value = float | int | str | None


class Difference(NamedTuple):
    """One cell that was served otherwise than the log says."""

    decision_id: str
    column: str
    served: Value
    recomputed: Value


@dataclass(slots=True)
class Skew:
    """What was compared and what differed; `examples` are the first few differing cells."""

    decisions: int = 0
    cells: int = 0
    differing: int = 0
    cut: int = 0
    interrupted: int = 0
    unattributed: int = 0
    other_schema: int = 0
    snapshots: int = 0
    examples: list[Difference] = field(default_factory=list)

    def add(self, other: Skew) -> None:
        """Adds what another part of the log showed."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        del self.examples[MAX_EXAMPLES:]

    def differs(self, found: Difference) -> None:
        """Counts a differing cell."""
        self.differing += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(found)


def check(root: Path, tenant: str, is_trigger: IsTrigger) -> Skew:
    """The skew of every decision of a replayed folder that holds events, decisions and outcomes.

    The snapshots of intent statistics are those of `tenant`. Raises `ReplayError` if `root` holds no replay.
    """
    total, named = Skew(), dict[str, str]()
    for number, (first_offset, _) in sorted(manifest(root).offsets["events"].items()):
        log = read_partition(root, number, first_offset)
        total.add(check_partition(log, is_trigger))
        named |= {served.intent_stats: served.decision_id for of in log.decisions.values() for served in of}
    named.pop(NO_SNAPSHOT, None)
    total.snapshots = len(named)
    for version, again in unfounded(root, tenant, named).items():
        total.differs(Difference(named[version], "versions.intent_stats", version, again))
    return total


def check_partition(log: PartitionLog, is_trigger: IsTrigger) -> Skew:
    """The skew of one partition's decisions; a decision without an applied trigger is one differing cell."""
    return recompute(log, is_trigger, lambda moments: _compared(log, moments))


def _compared(log: PartitionLog, moments: Iterator[Moment]) -> Skew:
    skew, seen = Skew(), set[int]()
    for moment in moments:
        seen.add(moment.served.offset)
        _compare(skew, moment, is_cut=log.first_offset > 0)
    for offset in sorted(log.decisions.keys() - seen):
        for served in log.decisions[offset]:
            _orphan(skew, served, is_cut=offset < log.first_offset)
    return skew


def _orphan(skew: Skew, served: Served, *, is_cut: bool) -> None:
    skew.decisions += 1
    if is_cut:
        skew.cut += 1
    else:
        skew.differs(Difference(served.decision_id, "trigger_offset", served.trigger, _ABSENT))


def _compare(skew: Skew, moment: Moment, *, is_cut: bool) -> None:
    skew.decisions += 1
    if moment.served.schema != fingerprint():
        skew.other_schema += 1
        return
    served = moment.served.row
    skew.cells += size(served)
    found = [Difference(moment.served.decision_id, *cell) for cell in differences(served, moment.row)]
    if moment.served.feedback_offset is None:
        found, unknown = _without(found, FEEDBACK_COLUMNS)
        skew.unattributed += unknown
    if moment.is_prompt_uncertain:
        found, unknown = _without(found, PROMPT_COLUMNS)
        skew.interrupted += unknown
    if is_cut and found:
        kept = [] if _lacks_events(served, moment.row) else [d for d in found if d.column.startswith(_SHORT_MEMORY)]
        skew.cut += len(kept) < len(found)
        found = kept
    for difference in found:
        skew.differs(difference)


def _lacks_events(served: FeatureRow, again: FeatureRow) -> bool:
    return again.numeric["events_7d"] < served.numeric["events_7d"]


def _without(found: Sequence[Difference], columns: Iterable[str]) -> tuple[list[Difference], int]:
    kept = [difference for difference in found if difference.column not in columns]
    return kept, len(found) - len(kept)


def size(row: FeatureRow) -> int:
    """How many cells a row has."""
    return len(row.numeric) + len(row.categorical) + len(row.event_kinds) + len(row.event_ages_s)


def differences(served: FeatureRow, again: FeatureRow) -> Iterator[tuple[str, Value, Value]]:
    """The cells of two rows that are not equal: (column, served, recomputed).

    >>> one = FeatureRow(numeric={"a": 1.0}, categorical={}, event_kinds=[1], event_ages_s=[0.5])
    >>> other = FeatureRow(numeric={"a": 1.5}, categorical={}, event_kinds=[1, 2], event_ages_s=[0.5])
    >>> list(differences(one, other))
    [('a', 1.0, 1.5), ('event_kinds[1]', 'absent', 2)]
    """
    if served == again:
        return
    before, after = dict(_cells(served)), dict(_cells(again))
    for column in dict.fromkeys([*before, *after]):
        one, other = before.get(column, _ABSENT), after.get(column, _ABSENT)
        if one != other:
            yield column, one, other


def _cells(row: FeatureRow) -> Iterator[tuple[str, Value]]:
    yield from row.numeric.items()
    yield from row.categorical.items()
    for name in ("event_kinds", "event_ages_s"):
        for place, value in enumerate(getattr(row, name)):
            yield f"{name}[{place}]", value
