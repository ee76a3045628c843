"""Decisions and outcomes joined into one table of training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import schema
from features.contract import to_ms
from features.decisions import Decision, Outcome, OutcomeKind
from features.schema import Encoded

ATTRIBUTION_WINDOW_MS = 10 * 60 * 1000
"""A click counts for a decision when its event time is at most this long after the decision's."""
ALLOWED_SKEW_MS = 60 * 1000
"""A client's clock may be this far behind the shop's: an outcome this long before its decision still counts."""

Lookup = Callable[[list[str]], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the join set aside, by reason, so that examples + dropped decisions = decisions read."""

    repeated_decisions: int = 0
    not_shown: int = 0
    unseen: int = 0
    other_schema: int = 0
    only_unknown_intents: int = 0
    unknown_prompts: int = 0
    repeated_outcomes: int = 0
    outside_window: int = 0
    orphan_outcomes: int = 0


@dataclass(frozen=True, slots=True)
class Dataset:
    """B seen slates of at most K prompts over N intents, in order of event time.

    `exposed` indexes `intent_ids` and is -1 where a slate is shorter than K; there `positions` is 0, `clicks` 0
    and `propensity` 1. Positions count from 1. A seen slate without a click is kept: its zeros are the negatives.
    """

    intent_ids: tuple[str, ...]
    encoded: Encoded
    exposed: NDArray[np.int64]
    positions: NDArray[np.int64]
    clicks: NDArray[np.float32]
    propensity: NDArray[np.float32]
    eligible: NDArray[np.bool_]
    state_hash: tuple[str, ...]
    user: tuple[str, ...]
    decision_id: tuple[str, ...]
    made_ms: NDArray[np.int64]
    dropped: Dropped = field(default_factory=Dropped)

    def __len__(self) -> int:
        return len(self.made_ms)

    @property
    def labels(self) -> NDArray[np.float32]:
        """Clicks over all intents, f32[B, N]."""
        table = np.zeros((len(self), len(self.intent_ids)), np.float32)
        rows, slots = np.nonzero(self.clicks)
        table[rows, self.exposed[rows, slots]] = 1.0
        return table

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Where a slate has a prompt, bool[B, K]."""
        return self.exposed >= 0

    @property
    def has_click(self) -> NDArray[np.bool_]:
        """Which slates were clicked, bool[B]."""
        return np.asarray(self.clicks.any(axis=1))

    def take(self, index: NDArray[np.int64]) -> Dataset:
        """The examples at `index`, in that order."""
        taken: dict[str, Any] = {
            f.name: _take(getattr(self, f.name), index) for f in fields(self) if f.name not in _SHARED
        }
        return replace(self, **taken)


_SHARED = frozenset({"intent_ids", "dropped"})


def _take(column: Any, index: NDArray[np.int64]) -> Any:
    if isinstance(column, tuple):
        return tuple(column[i] for i in index)
    return column.take(index) if isinstance(column, Encoded) else column[index]


def build(decisions: Iterable[Decision], outcomes: Iterable[Outcome], intent_ids: Sequence[str]) -> Dataset:
    """Joins outcomes to the decisions they name; the same log in any order gives the same dataset.

    An example is a `show` decision whose `shown` was confirmed (for the slate, or for the single prompts it names).
    Its clicks are those within `ATTRIBUTION_WINDOW_MS`. Eligible are the scored candidates less the excluded ones.
    """
    counts = dict.fromkeys((f.name for f in fields(Dropped)), 0)
    told = _by_decision(outcomes, counts)
    known = {intent_id: i for i, intent_id in enumerate(intent_ids)}
    rows = [row for d in _once(decisions, counts) if (row := _row(d, told.pop(d.decision_id, []), known, counts))]
    counts["orphan_outcomes"] = sum(map(len, told.values()))
    return _stack(rows, tuple(intent_ids), Dropped(**counts))


@dataclass(frozen=True, slots=True)
class _Row:
    decision: Decision
    slots: tuple[tuple[int, int, float, float], ...]  # intent index, position, click, propensity
    eligible: NDArray[np.bool_]


def _by_decision(outcomes: Iterable[Outcome], counts: dict[str, int]) -> dict[str, list[Outcome]]:
    told: dict[str, list[Outcome]] = {}
    ids: set[tuple[str, str]] = set()
    for outcome in outcomes:
        if (outcome.key, outcome.id) in ids:
            counts["repeated_outcomes"] += 1
            continue
        ids.add((outcome.key, outcome.id))
        told.setdefault(outcome.decision_id, []).append(outcome)
    return told


def _once(decisions: Iterable[Decision], counts: dict[str, int]) -> list[Decision]:
    unique: dict[str, Decision] = {}
    for decision in decisions:
        counts["repeated_decisions"] += decision.decision_id in unique
        unique.setdefault(decision.decision_id, decision)
    return sorted(unique.values(), key=lambda d: (d.time, d.decision_id))


def _row(decision: Decision, told: list[Outcome], known: dict[str, int], counts: dict[str, int]) -> _Row | None:
    reason, slots = _slots(decision, told, known, counts)
    if reason:
        counts[reason] += 1
        return None
    return _Row(decision, slots, _eligible(decision, known))


def _slots(
    decision: Decision, told: list[Outcome], known: dict[str, int], counts: dict[str, int]
) -> tuple[str, tuple[tuple[int, int, float, float], ...]]:
    timely = [o for o in told if o.key == decision.key and _in_window(decision, o)]
    counts["outside_window"] += len(told) - len(timely)
    if decision.decision != "show":
        return "not_shown", ()
    if decision.versions.features != schema.fingerprint():
        return "other_schema", ()
    shown = {o.intent_id for o in timely if o.kind is OutcomeKind.SHOWN}
    seen = [p for p in decision.prompts if None in shown or p.intent_id in shown]
    if not seen:
        return "unseen", ()
    clicked = {o.intent_id for o in timely if o.kind is OutcomeKind.CLICKED}
    kept = [p for p in seen if p.intent_id in known]
    counts["unknown_prompts"] += len(seen) - len(kept)
    slots = tuple((known[p.intent_id], p.position, float(p.intent_id in clicked), p.propensity) for p in kept)
    return ("", slots) if slots else ("only_unknown_intents", ())


def _in_window(decision: Decision, outcome: Outcome) -> bool:
    age_ms = to_ms(outcome.time) - to_ms(decision.time)
    return -ALLOWED_SKEW_MS <= age_ms <= ATTRIBUTION_WINDOW_MS


def _eligible(decision: Decision, known: dict[str, int]) -> NDArray[np.bool_]:
    excluded = {e.intent_id for e in decision.excluded}
    mask = np.zeros(len(known), np.bool_)
    mask[[known[i] for i in decision.candidates.intent_ids if i in known and i not in excluded]] = True
    mask[[known[p.intent_id] for p in decision.prompts if p.intent_id in known]] = True
    return mask


def _stack(rows: list[_Row], intent_ids: tuple[str, ...], dropped: Dropped) -> Dataset:
    width = max((len(row.slots) for row in rows), default=1)
    slots = np.tile(np.array([-1.0, 0.0, 0.0, 1.0]), (len(rows), width, 1))
    for b, row in enumerate(rows):
        slots[b, : len(row.slots)] = row.slots
    decisions = [row.decision for row in rows]
    return Dataset(
        intent_ids=intent_ids,
        encoded=schema.encode([d.features for d in decisions]),
        exposed=slots[:, :, 0].astype(np.int64),
        positions=slots[:, :, 1].astype(np.int64),
        clicks=slots[:, :, 2].astype(np.float32),
        propensity=slots[:, :, 3].astype(np.float32),
        eligible=np.array([row.eligible for row in rows], np.bool_).reshape(len(rows), len(intent_ids)),
        state_hash=tuple(d.embedding.state_hash for d in decisions),
        user=tuple(d.key for d in decisions),
        decision_id=tuple(d.decision_id for d in decisions),
        made_ms=np.array([to_ms(d.time) for d in decisions], np.int64),
        dropped=dropped,
    )


def split_by_time(dataset: Dataset, fraction: float) -> tuple[Dataset, Dataset]:
    """The first `fraction` of the examples by event time, and the rest; equal times stay on one side."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction is {fraction}; expected a number between 0 and 1, e.g. 0.8")
    order = np.argsort(dataset.made_ms, kind="stable")
    cut = round(fraction * len(dataset))
    if 0 < cut < len(dataset):
        cut = int(np.searchsorted(dataset.made_ms[order], dataset.made_ms[order[cut]], side="left"))
    return dataset.take(order[:cut]), dataset.take(order[cut:])


def permuted_clicks(dataset: Dataset, seed: int) -> Dataset:
    """The placebo: whole click rows exchanged among slates of equal length.

    Click rate and position bias stay as they were; which intent was wanted by whom is lost.
    """
    rng = np.random.default_rng(seed)
    lengths = dataset.seen.sum(axis=1)
    source = np.arange(len(dataset))
    for length in np.unique(lengths):
        group = np.flatnonzero(lengths == length)
        source[group] = rng.permutation(group)
    return replace(dataset, clicks=dataset.clicks[source])


def attach_queries(dataset: Dataset, lookup: Lookup, width: int = 576) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The latent query of every example: f32[B, width] (0 where unknown) and bool[B].

    `lookup` is asked once, for the unique state hashes, and answers with the vectors that it has.
    """
    hashes = sorted({h for h in dataset.state_hash if h})
    found = lookup(hashes)
    query = np.zeros((len(dataset), width), np.float32)
    has_query = np.array([h in found for h in dataset.state_hash], np.bool_).reshape(len(dataset))
    for row in np.flatnonzero(has_query):
        query[row] = found[dataset.state_hash[row]]
    return query, has_query
