"""One user within one batch: their events folded one by one, up to each moment that asks for a decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from features.canonical import ShopperEvent
from features.contract import InvalidEvent, from_ms, origin
from features.decisions import Decision
from features.feedback import FeedbackState
from features.fold import fold
from features.notices import QueryRequested
from features.prompt import is_telling, prompt_of
from features.schema import feature_row
from features.state import UserState, Verdict, facts
from stream.batching import Batch
from stream.decoding import Item
from stream.policy import Asked, PolicySettings
from stream.ranking import Trigger


class Unfit(Exception):
    """A valid event that this program cannot fold: to be dead-lettered, and its batch folded again without it."""

    def __init__(self, offset: int, reason: InvalidEvent) -> None:
        super().__init__(str(reason))
        self.offset = offset
        self.reason = reason


class Shopper:
    """A user's state and the batch's events of theirs that are still to be folded."""

    __slots__ = ("_feedback", "_items", "_place", "_policy", "_telling", "_wants_query", "is_touched", "key", "state")

    def __init__(
        self,
        key: str,
        state: UserState,
        items: Sequence[Item[ShopperEvent]],
        policy: PolicySettings | None,
        feedback: bytes | None,
    ) -> None:
        """`policy` says which events ask for a decision; None when none of `items` does."""
        self.key = key
        self.state = state
        self.is_touched = False
        self._items = items
        self._place = 0
        self._policy = policy
        self._feedback = feedback
        self._telling: Item[ShopperEvent] | None = None
        self._wants_query = False

    def advance(self, ends: Counter[Verdict], oldest_ms: int) -> Trigger | None:
        """Folds events until one asks for a decision; None when all are folded. `ends` counts those not applied.

        A trigger whose record is from before `oldest_ms` (broker's time) is too late to be answered. Raises `Unfit`.
        """
        state, policy = self.state, self._policy
        for item in self._items[self._place :]:
            self._place += 1
            try:
                verdict = fold(state, item.message, item.at_ms, item.watermark_ms)
                if verdict is not Verdict.APPLIED:
                    ends[verdict] += 1
                    continue
                self.is_touched = True
                is_asking = policy is not None and policy.is_trigger(item.message)
                if is_asking or is_telling(item.message):
                    self._telling = item
                if is_asking and item.record.timestamp_ms >= oldest_ms:
                    return self._trigger(item)
            except Exception as error:  # one bad event must not stop its partition: it is set aside, with the cause
                raise Unfit(
                    item.record.offset, InvalidEvent("cannot_fold", f"{type(error).__name__}: {error}")
                ) from error
        return None

    def _trigger(self, item: Item[ShopperEvent]) -> Trigger:
        state, feedback, at_ms = self.state, FeedbackState.from_bytes(self._feedback), item.at_ms
        prompt = prompt_of(state, at_ms)
        return Trigger(
            event=item.message,
            record=item.record,
            at_ms=at_ms,
            session=state.session_id,
            asked=Asked(at_ms, state.prompts_in_session, state.last_prompt_ms),
            row=feature_row(state, feedback, item.message, at_ms),
            facts=facts(state, at_ms),
            clicked=frozenset(feedback.clicked_since(state.session_start_ms)),
            dismissed=frozenset(feedback.dismissed_since(state.session_start_ms)),
            prompt=prompt.text,
            state_hash=prompt.hash,
            feedback_offset=feedback.through,
        )

    def hear(self, decision: Decision, trigger: Trigger) -> None:
        """Notes a decision before the next event is folded: offered prompts count, a missing latent query is wanted."""
        if decision.decision == "show":
            self.state.prompted(trigger.at_ms)
        if decision.embedding.state != "fresh":
            self._wants_query = True

    def query(self, batch: Batch) -> QueryRequested | None:
        """The request for a latent query, when the prompt's meaning changed or a decision went without its query.

        Remembers the state hash, so that equal meaning is not asked for again. The prompt is of the last event that
        tells something, however the log was cut into batches.
        """
        newest = self._telling
        if newest is None:
            return None
        prompt = prompt_of(self.state, newest.at_ms)
        is_new = prompt.hash != self.state.prompt_hash
        self.state.prompt_hash = prompt.hash
        if not (is_new or self._wants_query):
            return None
        return QueryRequested(
            tenant=newest.message.tenant,
            user=newest.message.user,
            state_hash=prompt.hash,
            prompt=prompt.text,
            time=from_ms(newest.at_ms),
            is_trigger=self._wants_query,
            origin=origin(batch.topic, batch.partition, newest.record.offset),
        )
