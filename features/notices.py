"""The wire contracts of what the parts tell each other: wanted queries, intents, releases, statistics, dead letters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from features.contract import (
    Contract,
    Count,
    Identifier,
    Moment,
    OfUser,
    Probability,
    Sha256,
    ShortText,
    Slug,
    Tenant,
    User,
    origin,
)


class QueryRequested(OfUser, Contract):
    """A user's prompt has a new meaning: embed it (topic `rgalign.queries.requested.v1`)."""

    tenant: Tenant
    user: User
    state_hash: Sha256
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=8000)]
    time: Moment
    is_trigger: bool = Field(default=False, description="the user is on a page that triggers prompts: goes first")
    origin: str = Field(description="topic[partition]@offset of the event that changed the meaning")


class QueryRefreshed(OfUser, Contract):
    """A user's latent query, which a decision went without, is there (topic `rgalign.queries.refreshed.v1`)."""

    tenant: Tenant
    user: User
    space_id: Sha256
    state_hash: Sha256
    time: Moment
    origin: str = Field(description="topic[partition]@offset of the event that changed the meaning")


class IntentChange(Contract):
    """One intent of the knowledge base as it now is (topic `rgalign.kb.v1`, compacted, key `tenant:intent_id`).

    `intent` is a `features.knowledge.Intent` as JSON; None retires it.
    """

    tenant: Tenant = "demo"
    intent_id: Slug
    kb_version: str
    time: Moment
    intent: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """The record key, `tenant:intent_id`."""
        return f"{self.tenant}:{self.intent_id}"


class ModelRelease(Contract):
    """A bundle to serve (topic `rgalign.models.v1`, compacted, key `tenant:stage`)."""

    tenant: Tenant = "demo"
    stage: Literal["staged", "serving"]
    version: Identifier
    uri: Annotated[str, StringConstraints(max_length=1000)]
    manifest_sha256: Sha256
    space_id: Sha256
    schema_fingerprint: str
    kb_version: str
    time: Moment
    note: ShortText = ""

    @property
    def key(self) -> str:
        """The record key, `tenant:stage`."""
        return f"{self.tenant}:{self.stage}"


class IntentStats(Contract):
    """How one intent fared, from one snapshot of the log (topic `rgalign.intent-stats.v1`, compacted)."""

    tenant: Tenant = "demo"
    intent_id: Slug
    version: Identifier = Field(
        description="the snapshot, the same for all its intents; Versions.intent_stats names it"
    )
    until: Moment = Field(description="event time up to which the snapshot counts")
    shown: Count
    clicked: Count
    dismissed: Count
    click_rate: Probability
    intents: Count = Field(default=0, description="how many intents the snapshot has: it is whole when all were read")

    @property
    def key(self) -> str:
        """The record key, `tenant:intent_id`."""
        return f"{self.tenant}:{self.intent_id}"


class SubjectErased(OfUser, Contract):
    """A user asked to be forgotten (topic `rgalign.subjects.erased.v1`, key `tenant:user`)."""

    tenant: Tenant
    user: User
    time: Moment
    request_id: Identifier


class DeadLetter(Contract):
    """Why a record was set aside; it travels as the headers of the dead letter, whose value is the original bytes."""

    reason: Slug
    detail: Annotated[str, StringConstraints(max_length=1000)]
    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    time: Moment

    @property
    def origin(self) -> str:
        """Where the record stood, as topic[partition]@offset."""
        return origin(self.topic, self.partition, self.offset)
