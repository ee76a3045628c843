"""What each logged decision was made on, computed again from the log alone.

    the user's state    their events up to and with the trigger, by the same fold and watermark as the stream's,
                        and the prompts that their earlier logged decisions offered
    their feedback      their outcomes up to `Decision.feedback_offset`, which names the last one that was known: the
                        outcome topic is read at its own pace, so no clock could tell

A worker that dies between commit and publishing has counted a prompt whose decision is not in the log. Such a trigger
(`is_trigger`, applied, without a decision) makes the user's prompt columns uncertain up to the next logged decision.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from features.acceptance import accepted_event
from features.canonical import ShopperEvent
from features.contract import InvalidEvent
from features.decisions import FeatureRow
from features.feedback import FeedbackState, fold_outcome
from features.fold import effective_ms, fold
from features.schema import AGE_CAP_S, feature_row
from features.state import UserState, Verdict
from features.windows import NEVER_S
from training.partition_log import PartitionLog, Served, Told

Taken = TypeVar("Taken")
IsTrigger = Callable[[ShopperEvent], bool]

PROMPT_COLUMNS = ("prompts_in_session", "since_s_prompt")
FEEDBACK_COLUMNS = ("shown_1d", "clicked_1d", "dismissed_1d")


@dataclass(frozen=True, slots=True)
class Moment:
    """A logged decision beside its recomputed inputs. `state` is lent: it changes when the next moment is asked for."""

    served: Served
    user: str
    state: UserState
    row: FeatureRow
    is_prompt_uncertain: bool


class _Unfit(Exception):
    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


def recompute(log: PartitionLog, is_trigger: IsTrigger, take: Callable[[Iterator[Moment]], Taken]) -> Taken:
    """What `take` makes of all moments of a partition, in order of their triggers.

    `take` is called again, from the first moment, when an event turns out to be unfit: the stream set it aside.
    """
    refused: set[int] = set()
    while True:
        try:
            return take(_moments(log, is_trigger, refused))
        except _Unfit as unfit:
            refused.add(unfit.offset)


@dataclass(slots=True)
class _Shopper:
    told: Sequence[Told]
    state: UserState = field(default_factory=UserState)
    feedback: FeedbackState = field(default_factory=FeedbackState)
    heard: int = 0
    is_prompt_uncertain: bool = False

    def feedback_through(self, offset: int | None) -> FeedbackState:
        """The feedback once the user's outcomes up to `offset` were heard; None: as far as they were already."""
        if offset is None:
            return self.feedback
        heard = bisect_right(self.told, offset, key=lambda told: told.offset)
        if heard < self.heard:  # a rebuilt store began again
            self.feedback, self.heard = FeedbackState(), 0
        for told in self.told[self.heard : heard]:
            fold_outcome(self.feedback, told.outcome, told.at_ms)
        self.heard = heard
        return self.feedback

    def decided(self, served: Served) -> None:
        """Notes the first logged decision of a trigger."""
        if self.is_prompt_uncertain:
            self._believe(served)
        if served.is_show:
            self.state.prompted(served.at_ms)
        self.is_prompt_uncertain = False

    def _believe(self, served: Served) -> None:
        numeric = served.row.numeric
        count, since_s = (numeric.get(column) for column in PROMPT_COLUMNS)
        if count is not None and since_s is not None:
            self.state.prompts_in_session = int(count)
            if since_s == NEVER_S:
                self.state.last_prompt_ms = 0
            elif since_s < AGE_CAP_S:
                self.state.last_prompt_ms = served.at_ms - round(since_s * 1000)


def _moments(log: PartitionLog, is_trigger: IsTrigger, refused: set[int]) -> Iterator[Moment]:
    shoppers: dict[str, _Shopper] = {}
    watermark_ms = 0
    for record in log.events:
        event = None if record.offset in refused else _event(record.key, record.value)
        if event is None:
            continue
        at_ms = effective_ms(event.time_ms, record.timestamp_ms)
        shopper = shoppers.setdefault(event.key, _Shopper(log.outcomes.get(event.key, ())))
        if _is_applied(shopper.state, event, record.offset, at_ms, watermark_ms):
            decisions = log.decisions.get(record.offset, ())
            for served in decisions:
                row = _row(shopper, served, event, record.offset, at_ms)
                yield Moment(served, event.key, shopper.state, row, shopper.is_prompt_uncertain)
            if decisions:
                shopper.decided(decisions[0])
            elif is_trigger(event):
                shopper.is_prompt_uncertain = True
        watermark_ms = max(watermark_ms, at_ms)


def _event(key: bytes | None, value: bytes | None) -> ShopperEvent | None:
    try:
        return accepted_event(key, value)
    except InvalidEvent:
        return None


def _is_applied(state: UserState, event: ShopperEvent, offset: int, at_ms: int, watermark_ms: int) -> bool:
    try:
        return fold(state, event, at_ms, watermark_ms) is Verdict.APPLIED
    except Exception as error:  # what the worker answers with a dead letter, whatever it is
        raise _Unfit(offset) from error


def _row(shopper: _Shopper, served: Served, event: ShopperEvent, offset: int, at_ms: int) -> FeatureRow:
    feedback = shopper.feedback_through(served.feedback_offset)
    try:
        return feature_row(shopper.state, feedback, event, at_ms)
    except Exception as error:
        raise _Unfit(offset) from error
