"""The wire contracts of decisions and of what became of them: together they are the impression log."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from features.contract import (
    Contract,
    Count,
    Identifier,
    Locale,
    LongText,
    Milliseconds,
    Moment,
    OfUser,
    Probability,
    Score,
    ShortText,
    Slug,
    Tenant,
    User,
)


class OutcomeKind(StrEnum):
    """What became of a decision, told by the client."""

    SHOWN = "shown"
    CLICKED = "clicked"
    DISMISSED = "dismissed"
    CONVERTED = "converted"
    TYPED_QUERY = "typed_query"


class Outcome(OfUser, Contract):
    """What a shopper did with a decision (topic `rgalign.outcomes.v1`, key `tenant:user`)."""

    id: Identifier
    decision_id: Identifier
    kind: OutcomeKind
    time: Moment
    tenant: Tenant = "demo"
    user: User
    intent_id: Slug | None = None
    position: Annotated[int, Field(ge=1, le=20)] | None = None
    text: LongText | None = None

    @model_validator(mode="after")
    def _names_the_intent_it_is_about(self) -> Self:
        if self.kind in (OutcomeKind.CLICKED, OutcomeKind.CONVERTED) and self.intent_id is None:
            raise ValueError(f"{self.kind} needs intent_id")
        if self.kind is OutcomeKind.TYPED_QUERY and not self.text:
            raise ValueError("typed_query needs text")
        return self


class Prompt(Contract):
    """One offered question, as shown: position counts from 1."""

    intent_id: Slug
    text: ShortText
    locale: Locale
    position: Annotated[int, Field(ge=1, le=20)]
    score: Probability = Field(description="the calibrated click probability at position 1")
    propensity: Probability = Field(description="the probability that this intent stood at this position")
    explored: bool = False


class FeatureRow(Contract):
    """The ranker's input for one request exactly as served; `features.schema` names and orders the columns."""

    numeric: dict[Slug, float]
    categorical: dict[Slug, Count]
    event_kinds: list[Count] = Field(max_length=64, description="the last events, newest first")
    event_ages_s: list[float] = Field(max_length=64)


class Candidates(Contract):
    """Every intent that was scored, in the order of the ranker's matrix."""

    intent_ids: list[Slug] = Field(max_length=5000)
    scores: list[Score] = Field(max_length=5000, description="the ranker's raw scores, before calibration")


class Excluded(Contract):
    """An intent that could not be offered, and why."""

    intent_id: Slug
    reason: Literal["already_clicked", "dismissed", "not_eligible", "disabled"]


class QueryEmbedding(Contract):
    """Which latent query a decision was ranked with (algorithm.md 2.1)."""

    state: Literal["fresh", "stale", "null"]
    space_id: str
    state_hash: str
    age_ms: Milliseconds = 0


class Versions(Contract):
    """Everything a decision depended on, so that it can be recomputed."""

    model: str
    kb: str
    features: str = Field(description="the schema fingerprint of features.schema")
    policy: str
    intent_stats: str = "none"


class Decision(OfUser, Contract):
    """To speak or to stay silent, with all that led to it (topic `rgalign.decisions.v1`): the impression log."""

    decision_id: Identifier
    refines: Identifier | None = Field(
        default=None, description="the decision over the same trigger that this one replaces: its query came later"
    )
    tenant: Tenant
    user: User
    session: Identifier
    decision: Literal["show", "silent", "holdout"]
    reason: Slug = Field(description="why: ranked, below_floor, cap_reached, nothing_eligible, already_clicked, ...")
    time: Moment = Field(description="event time of the trigger")
    made_at: Moment = Field(description="when it was made, by the worker's clock")
    ttl_ms: Milliseconds = 120_000
    prompts: list[Prompt] = Field(default=[], max_length=20)
    slate_propensity: Probability = Field(description="the probability of exactly this ordered slate (or silence)")
    candidates: Candidates
    excluded: list[Excluded] = Field(default=[], max_length=5000, description="clicked or dismissed intents only")
    features: FeatureRow
    versions: Versions
    embedding: QueryEmbedding
    experiment: str = "none"
    degraded: list[Slug] = Field(default=[], max_length=20)
    trigger_event: Identifier
    trigger_type: Slug
    trigger_offset: str = Field(description="topic[partition]@offset of the trigger")
    feedback_offset: Annotated[int, Field(ge=-1)] | None = Field(
        default=None, description="offset of the user's last outcome that was known then, -1 for none"
    )
    latency_ms: Annotated[float, Field(ge=0, le=1e9)] = Field(description="from the broker's timestamp of the trigger")

    def public(self) -> dict[str, Any]:
        """What a client may see: no feature row, no raw scores."""
        return self.model_dump(mode="json", exclude={"features", "candidates"}, exclude_none=True)
