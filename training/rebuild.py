"""What the worker's state must be: the events of one partition folded again, in plain Python, from the log alone.

The same rules as the stream's: `features.acceptance` says what is dead-lettered, the fold what is late or a duplicate,
the watermark is the newest event time of the partition so far. Every event goes by the full contract, so that a fault
of the worker's fast lane could not hide here. Left out of every digest, because decisions and not
events set them: `prompts_in_session`, `last_prompt_ms` and `prompt_hash` of a state. A window that begins in the
middle of the log folds from nothing; so does a worker whose store was lost.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from msgspec.structs import replace

from features.acceptance import accepted
from features.contract import InvalidEvent, to_ms
from features.events import UserEvent
from features.fold import effective_ms, fold
from features.ledger import Counts
from features.state import UserState, Verdict


class LogRecord(Protocol):
    """What the fold needs of a record; `timestamp_ms` is the broker's (or producer's) time."""

    @property
    def offset(self) -> int: ...  # noqa: D102
    @property
    def timestamp_ms(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102


class Logged(NamedTuple):
    """A record of the log, as `rebuild` takes it."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a partition's records lead to: where each ended, every user's state, and the watermark after all."""

    counts: Counts
    states: Mapping[str, UserState]
    watermark_ms: int

    @property
    def digest(self) -> str:
        """SHA-256 over the states, sorted by user; equal to `states_digest` of the live ledger's states."""
        return states_digest(self.states)


@dataclass(frozen=True, slots=True)
class Folded:
    """A `Rebuilt` in figures: where the records ended, how many users they are of, and the digest of their states."""

    applied: int
    late: int
    duplicate: int
    dead_lettered: int
    users: int
    watermark_ms: int
    digest: str

    @classmethod
    def of(cls, found: Rebuilt) -> Self:
        """The figures of a partition."""
        ends = found.counts
        counts = (ends.applied, ends.late, ends.duplicate, ends.dead_lettered)
        return cls(*counts, len(found.states), found.watermark_ms, found.digest)


def rebuild(records: Iterable[LogRecord]) -> Rebuilt:
    """Folds the records of one partition, in order of offset; `records` is iterated anew when an event is unfit.

    An event that makes the fold raise is dead-lettered, and the rest is folded as if it had never been: as the worker
    does it.
    """
    refused: set[int] = set()
    while True:
        try:
            return _folded(records, refused)
        except _Unfit as unfit:
            refused.add(unfit.offset)


def states_digest(states: Mapping[str, UserState]) -> str:
    """SHA-256 over user states ("tenant:user" -> state), whatever their order in the mapping."""
    told = hashlib.sha256()
    for user in sorted(states):
        blob = event_bytes(states[user])
        told.update(f"{user}\0{len(blob)}\0".encode())
        told.update(blob)
    return told.hexdigest()


def log_digest(rebuilt: Mapping[int, Rebuilt | Folded]) -> str:
    """SHA-256 over the digests of all partitions, by number."""
    lines = "".join(f"{number}:{rebuilt[number].digest}\n" for number in sorted(rebuilt))
    return hashlib.sha256(lines.encode()).hexdigest()


def event_bytes(state: UserState) -> bytes:
    """A state's bytes without what decisions wrote into it."""
    return replace(state, prompts_in_session=0, last_prompt_ms=0, prompt_hash="").to_bytes()


class _Unfit(Exception):
    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def _folded(records: Iterable[LogRecord], refused: set[int]) -> Rebuilt:
    states: dict[str, UserState] = {}
    ends: Counter[Verdict] = Counter()
    dead_lettered = watermark_ms = 0
    for record in records:
        event = None if record.offset in refused else _event(record)
        if event is None:
            dead_lettered += 1
            continue
        at_ms = effective_ms(to_ms(event.time), record.timestamp_ms)
        ends[_folded_into(states, event, record.offset, at_ms, watermark_ms)] += 1
        watermark_ms = max(watermark_ms, at_ms)
    counts = Counts(ends[Verdict.APPLIED], ends[Verdict.LATE], ends[Verdict.DUPLICATE], dead_lettered)
    return Rebuilt(counts, {user: state for user, state in states.items() if state.last_ms}, watermark_ms)


def _event(record: LogRecord) -> UserEvent | None:
    try:
        return accepted(UserEvent, record.key, record.value)
    except InvalidEvent:
        return None


def _folded_into(states: dict[str, UserState], event: UserEvent, offset: int, at_ms: int, watermark_ms: int) -> Verdict:
    try:
        return fold(states.setdefault(event.key, UserState()), event, at_ms, watermark_ms)
    except Exception as error:  # what the worker answers with a dead letter, whatever it is
        raise _Unfit(offset) from error
