"""What one user did with our prompts, folded from their outcomes: the base of caps and of "already clicked"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from features.events import Outcome, OutcomeKind
from features.fold import event_identity
from features.state import MAX_SEEN, StateFormatError, Verdict

MAX_INTENTS, MAX_SHOWN = 100, 50
_FORMAT = 1


@dataclass(slots=True)
class FeedbackState:
    """Which intents a user clicked and dismissed, and when prompts were shown; at most 32 KiB as bytes.

    `clicked` and `dismissed` hold the newest time by intent id (100 each), `shown` the newest 50 times, oldest first.
    A dismissal of a whole slate (no intent named) is kept under the empty intent id. `through` is the offset of the
    newest outcome of this user that was folded; -1 for none.
    """

    clicked: dict[str, int] = field(default_factory=dict)
    dismissed: dict[str, int] = field(default_factory=dict)
    shown: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    through: int = -1

    @classmethod
    def from_bytes(cls, blob: bytes | None) -> Self:
        """The state that `to_bytes` wrote; None gives a fresh one. Raises `StateFormatError`."""
        if blob is None:
            return cls()
        try:
            raw: dict[str, Any] = orjson.loads(blob)
            version = raw.pop("v")
            if version == _FORMAT:
                return cls(**raw)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            version = f"unreadable ({error})"
        raise StateFormatError(
            f"a feedback state of {len(blob)} bytes has format {version}, this program reads {_FORMAT}: run the "
            "worker that wrote it, or rebuild it from the log under a new RGALIGN_PREFIX"
        )

    def to_bytes(self) -> bytes:
        """The state as JSON bytes."""
        return orjson.dumps({"v": _FORMAT, **{name: getattr(self, name) for name in _FIELDS}})

    def clicked_since(self, since_ms: int) -> set[str]:
        """The intents clicked at or after `since_ms`."""
        return {intent_id for intent_id, at_ms in self.clicked.items() if at_ms >= since_ms}

    def dismissed_since(self, since_ms: int) -> set[str]:
        """The intents dismissed one by one at or after `since_ms`."""
        return {intent_id for intent_id, at_ms in self.dismissed.items() if at_ms >= since_ms and intent_id}

    def shown_since(self, since_ms: int) -> int:
        """How many prompts were seen at or after `since_ms` (of the newest 50)."""
        return sum(at_ms >= since_ms for at_ms in self.shown)


_FIELDS = tuple(FeedbackState.__slots__)


def fold_outcome(state: FeedbackState, outcome: Outcome, at_ms: int) -> Verdict:
    """Adds `outcome` to `state` in place; a repeated id among the last 256 changes nothing and is a duplicate.

    No outcome is late: clicks and dismissals keep the newest time, so their order does not matter.
    """
    identity = event_identity(outcome.id)
    if identity in state.seen:
        return Verdict.DUPLICATE
    state.seen.append(identity)
    del state.seen[:-MAX_SEEN]
    match outcome.kind:
        case OutcomeKind.SHOWN:
            state.shown = sorted([*state.shown, at_ms])[-MAX_SHOWN:]
        case OutcomeKind.CLICKED:
            _keep_newest(state.clicked, outcome.intent_id or "", at_ms)
        case OutcomeKind.DISMISSED:
            _keep_newest(state.dismissed, outcome.intent_id or "", at_ms)
        case OutcomeKind.CONVERTED | OutcomeKind.TYPED_QUERY:
            pass
    return Verdict.APPLIED


def _keep_newest(times: dict[str, int], intent_id: str, at_ms: int) -> None:
    times[intent_id] = max(at_ms, times.get(intent_id, 0))
    if len(times) > MAX_INTENTS:
        del times[min(times, key=lambda known: (times[known], known))]
