"""The second phase of a prompt: when the latent query comes, what was shown without it is ranked again.

    published   a second decision that `refines` the first: same trigger, session, features and chance, other query
    only if     the k best eligible intents are others than before, and the answer is still to show
    not if      the first is over, the shopper clicked or dismissed anything since, or a newer slate was shown

Caps are not asked again and nothing is charged: the slate that is replaced was paid for, and a silence or a holdout
stays one. As the condition looks at the k best and never at what chance made of them, the propensities of the second
slate are exact. Its id follows from its trigger, so that a trigger has two decisions at most, however often it is told.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from features.decisions import Decision
from features.feedback import FeedbackState
from features.ledger import Ledger
from features.notices import QueryRefreshed
from stream import deciding
from stream.hot_swap import BundleSlot, LiveKnowledge
from stream.open_slates import OpenSlate, OpenSlates
from stream.policy import PolicySettings
from stream.ranking import Ranking, RankingFailed, Serving
from stream.telemetry import REFINED

log = structlog.get_logger(__name__)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "rgalign:refined-decision")

Publish = Callable[[int, Sequence[Decision]], Awaitable[None]]
"""Appends decisions to a partition of the decision topic."""


def refined_id(first: str) -> str:
    """The id of the decision that refines another."""
    return str(uuid.uuid5(_NAMESPACE, first))


def best(decision: Decision, k: int) -> frozenset[str]:
    """The k best intents that a logged decision could offer, whatever chance made of them.

    Ties are broken as in `policy.by_probability`.
    """
    taken = {excluded.intent_id for excluded in decision.excluded}
    scored = zip(decision.candidates.scores, decision.candidates.intent_ids, strict=True)
    able = sorted((-score, zlib.crc32(name.encode()), name) for score, name in scored if name not in taken)
    return frozenset(name for _, _, name in able[:k])


@dataclass(slots=True)
class Refining:
    """Ranks open slates again. `feedback` is the ledger of outcomes, `clock` gives the wall clock in ms."""

    slates: OpenSlates
    ranking: Ranking
    models: BundleSlot
    knowledge: LiveKnowledge
    policy: PolicySettings
    feedback: Ledger
    publish: Publish
    clock: Callable[[], int]

    async def refresh(self, news: Sequence[QueryRefreshed]) -> None:
        """Answers news of refreshed queries; what fails is counted and dropped, for it cannot wait."""
        users = dict.fromkeys(message.key for message in news)
        found = [slate for user in users if (slate := self.slates.of(user)) is not None]
        serving = self.models.serving(self.knowledge.kb)
        if not found or serving is None:
            return
        try:
            valid = await self._valid(found)
            scored = await self.ranking.score([slate.trigger for slate in valid], serving) if valid else []
        except (RedisError, OSError, RankingFailed) as error:
            REFINED.labels(result="not_possible").inc(len(found))
            log.warning("not_refined", slates=len(found), error=str(error) or type(error).__name__)
            return
        for slate, score in zip(valid, scored, strict=True):
            if score.embedding.state != "null" and self.slates.of(slate.decision.key) is slate:
                place = deciding.Place(*_trigger_place(slate), self.clock(), slate.decision.versions.intent_stats)
                again = deciding.decide(slate.trigger, score, serving, self.policy, place)
                await self._answer(slate, again, serving)

    async def _valid(self, found: Sequence[OpenSlate]) -> list[OpenSlate]:
        """The slates that are not over and that their shoppers have not answered."""
        now_ms, valid, told = self.clock(), [], await self._told(found)
        for slate in found:
            user = slate.decision.key
            result = "over" if now_ms >= slate.until_ms else "answered" if _is_answered(slate, told[user]) else ""
            if result:
                self._close(slate, result)
            else:
                valid.append(slate)
        return valid

    async def _told(self, found: Sequence[OpenSlate]) -> dict[str, bytes | None]:
        """The feedback of the slates' users, one call a partition."""
        told: dict[str, bytes | None] = {}
        for partition in {slate.partition for slate in found}:
            users = [slate.decision.key for slate in found if slate.partition == partition]
            told |= zip(users, await self.feedback.load(partition, users), strict=True)
        return told

    async def _answer(self, slate: OpenSlate, again: Decision, serving: Serving) -> None:
        first = slate.decision
        k = self.policy.k
        if again.decision != "show" or best(first, k) == best(again, k):
            self._close(slate, "unchanged")
            return
        self._close(slate, "changed")
        second = again.model_copy(
            update={
                "decision_id": refined_id(first.decision_id),
                "refines": first.decision_id,
                "ttl_ms": max(slate.until_ms - self.clock(), 0),
            }
        )
        await self.publish(slate.partition, [second])
        log.info("refined", at=first.trigger_offset, model=serving.ranker.version, query=again.embedding.state)

    def _close(self, slate: OpenSlate, result: str) -> None:
        REFINED.labels(result=result).inc()
        if self.slates.of(slate.decision.key) is slate:
            self.slates.close(slate.decision.key)


def _is_answered(slate: OpenSlate, feedback: bytes | None) -> bool:
    told = FeedbackState.from_bytes(feedback)
    return any(at_ms >= slate.trigger.at_ms for at_ms in (*told.clicked.values(), *told.dismissed.values()))


def _trigger_place(slate: OpenSlate) -> tuple[str, int]:
    topic = slate.decision.trigger_offset.rpartition("@")[0].rpartition("[")[0]
    return topic, slate.partition
