"""The wire contracts: every message on every topic, frozen, bounded and forward compatible.

An unknown event *type* is accepted as `EventKind.OTHER`; the rules that all messages share are in `features.contract`.
Attribute names follow CloudEvents 1.0 (`specversion`, `id`, `source`, `type`, `time`, `data`); event types follow the
object_action habit of commerce tracking plans.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from features.contract import (
    Contract,
    Count,
    Identifier,
    Locale,
    LongText,
    Milliseconds,
    Moment,
    Probability,
    Score,
    Sha256,
    ShortText,
    Slug,
    Tenant,
    User,
    origin,
    to_ms,
)

MAX_EVENT_BYTES = 256 * 1024
"""The largest event a worker applies; a larger one is dead-lettered."""


class EventKind(StrEnum):
    """What a shopper's event can be; `OTHER` stands for a type this version does not know."""

    PAGE_VIEWED = "page_viewed"
    PRODUCT_VIEWED = "product_viewed"
    SEARCHED = "searched"
    CART_UPDATED = "cart_updated"
    CHECKOUT_STARTED = "checkout_started"
    PAYMENT_FAILED = "payment_failed"
    VOUCHER_REJECTED = "voucher_rejected"
    ORDER_PLACED = "order_placed"
    ORDER_STATUS_CHANGED = "order_status_changed"
    PARCEL_DELAYED = "parcel_delayed"
    RETURN_REQUESTED = "return_requested"
    REFUND_ISSUED = "refund_issued"
    HELP_PAGE_OPENED = "help_page_opened"
    CHAT_OPENED = "chat_opened"
    SIGN_IN_FAILED = "sign_in_failed"
    ACCOUNT_CHANGED = "account_changed"
    OTHER = "other"


class PageClass(StrEnum):
    """Which part of the shop a viewed page belongs to."""

    HOME = "home"
    CATEGORY = "category"
    PRODUCT = "product"
    CART = "cart"
    CHECKOUT = "checkout"
    ORDER = "order"
    RETURNS = "returns"
    ACCOUNT = "account"
    HELP = "help"


class OrderStatus(StrEnum):
    """The states of an order, from placed to its ends."""

    PLACED = "placed"
    PAID = "paid"
    PACKED = "packed"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    DELAYED = "delayed"
    LOST = "lost"
    DELIVERED = "delivered"
    RETURN_REQUESTED = "return_requested"
    RETURN_IN_TRANSIT = "return_in_transit"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class _OfUser:
    """What every message of one user shares: a key that keeps them in one partition, and a time."""

    if TYPE_CHECKING:  # each contract says itself where in its JSON they stand
        tenant: str
        user: str
        time: datetime

    @property
    def key(self) -> str:
        """The record key, `tenant:user`."""
        return f"{self.tenant}:{self.user}"

    @property
    def time_ms(self) -> int:
        """The time in ms since the epoch."""
        return to_ms(self.time)


class EventData(Contract):
    """What an event may tell; which of it a type needs is in `UserEvent.REQUIRED`."""

    page: PageClass | None = None
    path: Annotated[str, StringConstraints(max_length=500)] | None = None
    query: ShortText | None = Field(default=None, description="what was typed into the shop's search")
    text: LongText | None = Field(default=None, description="what was typed into the chat or help box")
    topic: ShortText | None = Field(default=None, description="the title of a help page")
    item_title: ShortText | None = None
    category: ShortText | None = None
    quantity: Annotated[int, Field(ge=0, le=10_000)] | None = Field(default=None, description="items in the cart")
    amount: Annotated[float, Field(ge=0, le=10_000_000)] | None = None
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = None
    order_id: Identifier | None = None
    order_status: OrderStatus | None = None
    delay_days: Annotated[float, Field(ge=0, le=365)] | None = None
    carrier: ShortText | None = None
    method: ShortText | None = Field(default=None, description="payment method")
    error: ShortText | None = Field(default=None, description="why a payment, voucher or sign-in failed")
    voucher: ShortText | None = None
    change: ShortText | None = Field(default=None, description="what changed in the account")


REQUIRED: dict[EventKind, tuple[str, ...]] = {
    EventKind.PAGE_VIEWED: ("page",),
    EventKind.SEARCHED: ("query",),
    EventKind.CART_UPDATED: ("quantity",),
    EventKind.ORDER_PLACED: ("order_id",),
    EventKind.ORDER_STATUS_CHANGED: ("order_id", "order_status"),
    EventKind.PARCEL_DELAYED: ("order_id",),
    EventKind.RETURN_REQUESTED: ("order_id",),
    EventKind.REFUND_ISSUED: ("order_id",),
}
"""The `data` fields a type cannot do without."""


class UserEvent(_OfUser, Contract):
    """One thing a shopper did, or that happened to their order (topic `shop.user.events.v1`)."""

    max_bytes: ClassVar[int | None] = MAX_EVENT_BYTES

    specversion: Literal["1.0"] = "1.0"
    id: Identifier
    source: Annotated[str, StringConstraints(max_length=200)] = "/shop"
    type: Slug
    time: Moment
    tenant: Tenant = "demo"
    user: User
    locale: Locale = "en"
    data: EventData = EventData()

    @property
    def kind(self) -> EventKind:
        """The type, or `OTHER` when this version does not know it."""
        return KINDS.get(self.type, EventKind.OTHER)

    @model_validator(mode="after")
    def _holds_what_its_type_needs(self) -> Self:
        missing = [name for name in REQUIRED.get(self.kind, ()) if getattr(self.data, name) is None]
        if missing:
            raise ValueError(f"{self.type} needs data.{', data.'.join(missing)}")
        return self


KINDS = {kind.value: kind for kind in EventKind}
"""Event kinds by type."""


class OutcomeKind(StrEnum):
    """What became of a decision, told by the client."""

    SHOWN = "shown"
    CLICKED = "clicked"
    DISMISSED = "dismissed"
    CONVERTED = "converted"
    TYPED_QUERY = "typed_query"


class Outcome(_OfUser, Contract):
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


class Decision(_OfUser, Contract):
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


class QueryRequested(_OfUser, Contract):
    """A user's prompt has a new meaning: embed it (topic `rgalign.queries.requested.v1`)."""

    tenant: Tenant
    user: User
    state_hash: Sha256
    prompt: Annotated[str, StringConstraints(min_length=1, max_length=8000)]
    time: Moment
    is_trigger: bool = Field(default=False, description="the user is on a page that triggers prompts: goes first")
    origin: str = Field(description="topic[partition]@offset of the event that changed the meaning")


class QueryRefreshed(_OfUser, Contract):
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


class SubjectErased(_OfUser, Contract):
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
