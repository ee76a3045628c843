"""What one user did with our prompts, folded from their outcomes: the base of caps and of "already clicked"."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from features.decisions import Outcome, OutcomeKind
from features.dedupe import IDENTITY_BYTES, event_identity, is_known
from features.state import MAX_SEEN, StateFormatError, Verdict

MAX_INTENTS, MAX_SHOWN = 100, 50
_FORMAT = 2


class FeedbackState(Struct, array_like=True, gc=False, tag=_FORMAT, forbid_unknown_fields=True):
    """Which intents a user clicked and dismissed, and when prompts were shown; at most 32 KiB as bytes.

    `clicked` and `dismissed` hold the newest time by intent id (100 each), `shown` the newest 50 times, oldest first.
    A dismissal of a whole slate (no intent named) is kept under the empty intent id. `seen_ids` holds the newest 256
    outcome ids (see `features.dedupe`), `through` is the offset of the newest outcome that was folded; -1 for none.
    """

    clicked: dict[str, int] = {}
    dismissed: dict[str, int] = {}
    shown: list[int] = []
    seen_ids: bytearray = msgspec.field(default_factory=bytearray)
    through: int = -1

    @classmethod
    def from_bytes(cls, blob: bytes | None) -> FeedbackState:
        """The state that `to_bytes` wrote; None gives a fresh one. Raises `StateFormatError`."""
        if blob is None:
            return cls()
        try:
            return _decode(blob)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateFormatError(
                f"a feedback state of {len(blob)} bytes is not of format {_FORMAT} ({error}): run the worker that "
                "wrote it, or rebuild it from the log under a new RGALIGN_PREFIX"
            ) from error

    def to_bytes(self) -> bytes:
        """The state as msgpack bytes."""
        return _encode(self)

    def clicked_since(self, since_ms: int) -> set[str]:
        """The intents clicked at or after `since_ms`."""
        return {intent_id for intent_id, at_ms in self.clicked.items() if at_ms >= since_ms}

    def dismissed_since(self, since_ms: int) -> set[str]:
        """The intents dismissed one by one at or after `since_ms`."""
        return {intent_id for intent_id, at_ms in self.dismissed.items() if at_ms >= since_ms and intent_id}

    def shown_since(self, since_ms: int) -> int:
        """How many prompts were seen at or after `since_ms` (of the newest 50)."""
        return sum(at_ms >= since_ms for at_ms in self.shown)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FeedbackState).decode


def fold_outcome(state: FeedbackState, outcome: Outcome, at_ms: int) -> Verdict:
    """Adds `outcome` to `state` in place; a repeated id among the last 256 changes nothing and is a duplicate.

    No outcome is late: clicks and dismissals keep the newest time, so their order does not matter.
    """
    identity = event_identity(outcome.id)
    if is_known(state.seen_ids, identity):
        return Verdict.DUPLICATE
    state.seen_ids += identity
    del state.seen_ids[: -MAX_SEEN * IDENTITY_BYTES]
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
