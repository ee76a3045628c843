"""From a scored trigger to the Decision that is logged: the impression log's one author."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.contract import from_ms, origin
from features.decisions import Candidates, Decision, Excluded, Prompt, QueryEmbedding, Versions
from features.schema import fingerprint
from stream.policy import Choice, Considered, PolicySettings, choose, silent
from stream.ranking import Scored, Serving, Trigger

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "rgalign:decision")
NO_MODEL = "none"


def decision_id(topic: str, partition: int, offset: int) -> str:
    """The id of the decision that a trigger leads to: the same however often the trigger is processed."""
    return str(uuid.uuid5(_NAMESPACE, origin(topic, partition, offset)))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the triggers of a batch stand, the wall clock of their decisions in ms, and the statistics in force."""

    topic: str
    partition: int
    made_ms: int
    intent_stats: str


def decide(trigger: Trigger, scored: Scored, serving: Serving, policy: PolicySettings, place: Place) -> Decision:
    """The decision over a scored trigger."""
    eligible = serving.eligible(trigger.facts)
    excluded = dict.fromkeys(trigger.dismissed, "dismissed") | dict.fromkeys(trigger.clicked, "already_clicked")
    event = trigger.event
    choice = choose(
        policy,
        trigger.asked,
        Considered(serving.ids, scored.probability, eligible.mask, _taken(serving, excluded)),
        policy.generator(event.tenant, event.user, event.id),
    )
    return _decision(
        trigger,
        choice,
        policy,
        place,
        prompts=_prompts(choice, serving, scored, event.locale),
        candidates=Candidates(intent_ids=eligible.ids, scores=rounded(scored.scores[eligible.index])),
        excluded=_excluded(eligible.ids, excluded),
        versions=_versions(serving.ranker.version, serving.kb.version, policy.version, place.intent_stats),
        embedding=scored.embedding,
        degraded=list(scored.degraded),
    )


def decide_without_model(
    trigger: Trigger, policy: PolicySettings, place: Place, kb_version: str, degraded: str
) -> Decision:
    """Silence, because nothing can be ranked: no bundle yet, or one that failed."""
    return _decision(
        trigger,
        silent("no_model"),
        policy,
        place,
        prompts=[],
        candidates=Candidates(intent_ids=[], scores=[]),
        excluded=[],
        versions=_versions(NO_MODEL, kb_version, policy.version, place.intent_stats),
        embedding=QueryEmbedding(state="null", space_id=NO_MODEL, state_hash=trigger.state_hash),
        degraded=[degraded],
    )


def _decision(
    trigger: Trigger,
    choice: Choice,
    policy: PolicySettings,
    place: Place,
    *,
    prompts: list[Prompt],
    candidates: Candidates,
    excluded: list[Excluded],
    versions: Versions,
    embedding: QueryEmbedding,
    degraded: list[str],
) -> Decision:
    event, offset = trigger.event, trigger.record.offset
    return Decision(
        decision_id=decision_id(place.topic, place.partition, offset),
        tenant=event.tenant,
        user=event.user,
        session=trigger.session,
        decision=choice.decision,
        reason=choice.reason,
        time=from_ms(trigger.at_ms),
        made_at=from_ms(place.made_ms),
        ttl_ms=policy.ttl_ms,
        prompts=prompts,
        slate_propensity=choice.propensity,
        candidates=candidates,
        excluded=excluded,
        features=trigger.row,
        versions=versions,
        embedding=embedding,
        degraded=degraded,
        trigger_event=event.id,
        trigger_type=event.type,
        trigger_offset=origin(place.topic, place.partition, offset),
        feedback_offset=trigger.feedback_offset,
        latency_ms=max(place.made_ms - trigger.record.timestamp_ms, 0),
    )


def _prompts(choice: Choice, serving: Serving, scored: Scored, locale: str) -> list[Prompt]:
    prompts = []
    for offer in choice.slate:
        intent = serving.intents[offer.index]
        words = intent.display(locale)
        prompts.append(
            Prompt(
                intent_id=intent.id,
                text=words.title,
                locale=words.locale,
                position=offer.position,
                score=float(scored.probability[offer.index]),
                propensity=offer.propensity,
                explored=offer.explored,
            )
        )
    return prompts


def rounded(scores: NDArray[np.float32]) -> list[float]:
    """`round(float(score), 6)` of each finite score in [-1e6, 1e6], to the last bit.

    The product of a float32 and 10^6 has at most 38 significant bits, so it is exact, and so is the choice of the
    nearest whole number, even at a tie.
    """
    rounds: list[float] = (np.rint(scores.astype(np.float64) * 1e6) / 1e6).tolist()
    return rounds


def _taken(serving: Serving, excluded: Mapping[str, str]) -> NDArray[np.bool_]:
    """bool[N]: which intents the user clicked or dismissed."""
    taken = np.zeros(len(serving.ids), np.bool_)
    taken[[place for intent_id in excluded if (place := serving.places.get(intent_id)) is not None]] = True
    return taken


def _excluded(able: Sequence[str], reasons: Mapping[str, str]) -> list[Excluded]:
    if not reasons:
        return []
    return [Excluded.model_validate({"intent_id": i, "reason": reasons[i]}) for i in able if i in reasons]


@lru_cache(64)
def _versions(model: str, kb: str, policy: str, intent_stats: str) -> Versions:
    return Versions(model=model, kb=kb, features=fingerprint(), policy=policy, intent_stats=intent_stats)
