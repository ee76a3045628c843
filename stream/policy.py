"""When to speak and what to offer: pure choices with exact propensities.

Who may be addressed is settled first (caps, eligibility, what was clicked, the floor); only then does chance come in,
in this order and with these probabilities (k prompts, n = size of the pool, G = the k best, h = holdout, e = epsilon,
w = swap):

    holdout         h
    explore         (1 - h) e             k distinct intents of the pool in uniformly random order
    exploit         (1 - h) (1 - e)       G, and with probability w two of its positions, drawn uniformly, change places

so the probability of an ordered slate S of the pool is

    P(S) = (1 - h) [ e (n - k)! / n! + (1 - e) ((1 - w) 1[S = G] + w / C(k, 2) 1[S is G with two positions exchanged]) ]

and that of intent i at position j follows by summing over slates (`item_propensity`). Together with the holdout they
sum to 1; each Decision logs both.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb, perm
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.canonical import ShopperEvent
from features.events import EventKind, PageClass

TRIGGERS = frozenset({
    EventKind.HELP_PAGE_OPENED, EventKind.CHAT_OPENED, EventKind.PAYMENT_FAILED, EventKind.VOUCHER_REJECTED,
    EventKind.PARCEL_DELAYED, EventKind.RETURN_REQUESTED, EventKind.SIGN_IN_FAILED,
})  # fmt: skip
PAGES = frozenset({PageClass.HELP, PageClass.ORDER, PageClass.RETURNS, PageClass.CHECKOUT, PageClass.ACCOUNT})


class PolicySettings(BaseSettings):
    """What a shop sets about speaking; each field from RGALIGN_POLICY_<NAME>."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix="RGALIGN_POLICY_")

    k: int = Field(default=3, ge=1, le=10, description="prompts in a slate")
    pool: int = Field(default=20, ge=10, le=200, description="exploration stays among this many best eligible intents")
    epsilon: float = Field(default=0.02, ge=0, le=1, description="share of slates drawn at random from the pool")
    swap: float = Field(default=0.1, ge=0, le=1, description="share of other slates with two positions exchanged")
    floor: float = Field(default=0.05, ge=0, le=1, description="stay silent when the best click probability is below")
    holdout: float = Field(default=0.02, ge=0, lt=1, description="share of would-be prompts withheld at random")
    max_per_session: int = Field(default=8, ge=0, description="slates offered in one session")
    cooldown_ms: int = Field(default=1000, ge=0, description="event time between two slates to one user")
    ttl_ms: int = Field(default=120_000, gt=0, description="how long a decision is of use; an older trigger gets none")
    seed: int = Field(default=0, description="all chance follows from it, the user and the event")
    triggers: frozenset[EventKind] = TRIGGERS
    pages: frozenset[PageClass] = Field(default=PAGES, description="page views that trigger")

    @cached_property
    def version(self) -> str:
        """12 hex digits of all settings."""
        text = repr(sorted((name, _canonical(value)) for name, value in self))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def is_trigger(self, event: ShopperEvent) -> bool:
        """Whether an event asks for a decision."""
        kind = event.kind
        return kind in self.triggers or (kind is EventKind.PAGE_VIEWED and event.data.page in self.pages)

    def generator(self, tenant: str, user: str, event_id: str) -> np.random.Generator:
        """The chance of one decision: the same for the same seed, user and event, wherever it is made."""
        text = "\x00".join((str(self.seed), tenant, user, event_id))
        return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))


def _canonical(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, frozenset) else value


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caps need to know of the user at the trigger: times are event times in ms."""

    now_ms: int
    prompts_in_session: int
    last_prompt_ms: int


@dataclass(frozen=True, slots=True)
class Considered:
    """N candidates: ids, calibrated click probability f32[N], may be offered bool[N], clicked or dismissed bool[N]."""

    ids: Sequence[str]
    probability: NDArray[np.float32]
    eligible: NDArray[np.bool_]
    taken: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Offer:
    """One intent of a slate: `index` into the candidates, `position` from 1."""

    index: int
    position: int
    propensity: float
    explored: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and the probability of choosing exactly that."""

    decision: Literal["show", "silent", "holdout"]
    reason: str
    propensity: float
    slate: tuple[Offer, ...] = ()


def silent(reason: str) -> Choice:
    """Silence that no chance led to."""
    return Choice("silent", reason, 1.0)


def choose(settings: PolicySettings, asked: Asked, considered: Considered, generator: np.random.Generator) -> Choice:
    """The choice among the considered intents. Reasons of silence are tried in the order written here."""
    if asked.prompts_in_session >= settings.max_per_session:
        return silent("cap_reached")
    if asked.last_prompt_ms and asked.now_ms - asked.last_prompt_ms < settings.cooldown_ms:
        return silent("cooldown")
    if not considered.eligible.any():
        return silent("nothing_eligible")
    ranked = by_probability(considered)
    if considered.taken[ranked[: settings.k]].all():
        return silent("already_clicked")
    pool = ranked[~considered.taken[ranked]][: settings.pool]
    if considered.probability[pool[0]] < settings.floor:
        return silent("below_floor")
    return _draw(settings, pool, generator)


def by_probability(considered: Considered) -> NDArray[np.int64]:
    """The eligible candidates' indices, best first; equal probabilities in the fixed order of a hash of their ids."""
    index = np.flatnonzero(considered.eligible)
    return index[np.lexsort((_ties(tuple(considered.ids))[index], -considered.probability[index]))]


@lru_cache(8)
def _ties(ids: tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([zlib.crc32(intent_id.encode()) for intent_id in ids], np.int64)


def _draw(settings: PolicySettings, pool: NDArray[np.int64], generator: np.random.Generator) -> Choice:
    if generator.random() < settings.holdout:
        return Choice("holdout", "holdout", settings.holdout)
    k = min(settings.k, len(pool))
    ranks = _drawn_ranks(settings, k, len(pool), generator)
    slate = tuple(
        Offer(int(pool[rank]), place + 1, item_propensity(settings, k, len(pool), rank, place), rank != place)
        for place, rank in enumerate(ranks)
    )
    return Choice("show", "ranked", slate_propensity(settings, k, len(pool), ranks), slate)


def _drawn_ranks(settings: PolicySettings, k: int, n: int, generator: np.random.Generator) -> list[int]:
    """Which rank of the pool stands at each position."""
    if generator.random() < settings.epsilon:
        return [int(rank) for rank in generator.permutation(n)[:k]]
    ranks = list(range(k))
    if k > 1 and generator.random() < settings.swap:
        one, other = list(combinations(range(k), 2))[generator.integers(comb(k, 2))]
        ranks[one], ranks[other] = ranks[other], ranks[one]
    return ranks


def slate_propensity(settings: PolicySettings, k: int, n: int, ranks: Sequence[int]) -> float:
    """P(S), the module's equation, for the slate whose position j holds the pool's rank ranks[j] (0 = best)."""
    moved = sum(rank != place for place, rank in enumerate(ranks))
    stays, exchanged = _exploited(settings, k)
    exploit = 0.0
    if moved == 0:
        exploit = stays
    elif moved == 2 and all(rank < k for rank in ranks):
        exploit = exchanged
    return (1 - settings.holdout) * (settings.epsilon / perm(n, k) + (1 - settings.epsilon) * exploit)


def item_propensity(settings: PolicySettings, k: int, n: int, rank: int, place: int) -> float:
    """The probability that the pool's `rank` stands at position `place` (both from 0): P(S) summed over such slates."""
    _, exchanged = _exploited(settings, k)
    exploit = 0.0
    if rank < k:
        exploit = exchanged if rank != place else 1.0 - (k - 1) * exchanged
    return (1 - settings.holdout) * (settings.epsilon / n + (1 - settings.epsilon) * exploit)


def _exploited(settings: PolicySettings, k: int) -> tuple[float, float]:
    """The probabilities of G itself and of each of its C(k, 2) exchanges, given that it is not explored."""
    return (1.0, 0.0) if k < 2 else (1.0 - settings.swap, settings.swap / comb(k, 2))
