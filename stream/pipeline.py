"""THE LINE: a micro-batch of events -> states, decisions, online rows and query requests. No Faust in it.

    decode -> take states -> fold up to each trigger -> rank -> decide -> set dead letters aside -> COMMIT to the ledger
           -> publish decisions and query requests; online rows follow by themselves (`stream.projection`)

Before the commit nothing has an effect but dead letters (which name their origin, so that a repeated one is known);
after it nothing can undo it. Users are folded trigger by trigger, all users at once, so that what a batch leads to is
what its events one by one would have led to, however the log is cut into batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import structlog

from features.acceptance import accepted_event
from features.canonical import ShopperEvent
from features.contract import InvalidEvent, from_ms, origin
from features.decisions import Decision
from features.ledger import Claim, Counts, Ledger
from features.notices import QueryRequested
from features.state import UserState, Verdict
from stream import deciding, tracing
from stream.batching import Batch
from stream.dead_letters import DeadLetters
from stream.decoding import Decoded, Item, decode
from stream.fence import Fence
from stream.hot_swap import BundleSlot, LiveKnowledge
from stream.live_stats import LiveStatistics
from stream.open_slates import OpenSlates
from stream.outbox import Outbox
from stream.policy import PolicySettings
from stream.projection import Projection
from stream.ranking import Ranking, RankingFailed, Serving, Trigger
from stream.shopper import Shopper, Unfit
from stream.telemetry import (
    BATCH_RECORDS,
    DECISION_SECONDS,
    DECISIONS,
    EVENTS,
    WATERMARK_DELAY_SECONDS,
    observe_freshness,
)
from stream.tracing import stage
from stream.user_cache import UserCache

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Names:
    """The full names of the topics that the line writes to."""

    decisions: str
    queries: str


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch leads to, before any of it has an effect."""

    decoded: Decoded[ShopperEvent]
    counts: Counts
    states: dict[str, UserState]
    touched: list[str]
    made: list[tuple[Trigger, Decision]]
    queries: list[QueryRequested]


class EventLine:
    """The line over the event topic. `clock` gives the wall clock in ms; state depends on event time alone."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        feedback: Ledger,
        names: Names,
        policy: PolicySettings,
        outbox: Outbox,
        dead_letters: DeadLetters,
        users: UserCache,
        projection: Projection,
        ranking: Ranking,
        models: BundleSlot,
        knowledge: LiveKnowledge,
        statistics: LiveStatistics,
        slates: OpenSlates,
        clock: Callable[[], int],
        patience_s: float,
    ) -> None:
        self.fence = Fence(ledger, patience_s, self._begin)
        self._feedback = feedback
        self._names = names
        self._policy = policy
        self._outbox = outbox
        self._dead_letters = dead_letters
        self._users = users
        self._projection = projection
        self._ranking = ranking
        self._models = models
        self._knowledge = knowledge
        self._statistics = statistics
        self._slates = slates
        self._clock = clock

    async def process(self, batch: Batch) -> None:
        """Gives a batch its effects, once; drops it when this worker no longer owns the partition.

        Raises what the worker must exit for: `StoreUnavailable`, `StoreLost`, `MissedRecords`, or a Kafka error.
        """
        BATCH_RECORDS.observe(len(batch.records))
        await self._projection.room()
        with tracing.batch(batch):
            await self.fence.take(batch, self._process)

    async def _process(self, batch: Batch) -> None:
        work = await self._worked(batch)
        states = {user: work.states[user].to_bytes() for user in work.touched}
        await self._dead_letters.set_aside(work.decoded.letters)
        with stage("commit"):
            is_applied = await self.fence.commit(batch, states, work.counts, work.decoded.watermark_ms)
        if not is_applied:
            return
        self._users.give(batch.partition, work.states, states)
        self._projection.note(batch.partition, batch.epoch, batch.last, states, batch.records[0].timestamp_ms)
        with stage("publish"):
            await self._outbox.send(self._names.decisions, batch.partition, [decision for _, decision in work.made])
            self._slates.note(batch.partition, work.made, self._clock())
            await self._outbox.send(self._names.queries, batch.partition, work.queries)
        self._count(batch, work)

    async def _worked(self, batch: Batch) -> Work:
        """Folds a batch, again without each event that turns out to be unfit."""
        refused: dict[int, InvalidEvent] = {}
        while True:
            with stage("decode"):
                decoded = decode(
                    batch, accepted_event, self.fence.watermark_ms(batch.partition), from_ms(self._clock()), refused
                )
            try:
                return await self._folded(batch, decoded)
            except Unfit as unfit:
                log.exception("event_unfit", at=origin(batch.topic, batch.partition, unfit.offset))
                refused[unfit.offset] = unfit.reason

    async def _folded(self, batch: Batch, decoded: Decoded[ShopperEvent]) -> Work:
        shoppers = await self._shoppers(batch.partition, decoded)
        serving = self._models.serving(self._knowledge.kb)
        ends: Counter[Verdict] = Counter()
        made: list[tuple[Trigger, Decision]] = []
        for asked in self._rounds(shoppers, ends):
            decisions = await self._decided(batch, serving, [trigger for _, trigger in asked])
            for (shopper, trigger), decision in zip(asked, decisions, strict=True):
                shopper.hear(decision, trigger)
                made.append((trigger, decision))
        touched = [shopper for shopper in shoppers if shopper.is_touched]
        queries = [query for shopper in touched if (query := shopper.query(batch)) is not None]
        late, repeated = ends[Verdict.LATE], ends[Verdict.DUPLICATE]
        counts = Counts(len(decoded.items) - late - repeated, late, repeated, len(decoded.letters))
        states = {shopper.key: shopper.state for shopper in shoppers}
        return Work(decoded, counts, states, [shopper.key for shopper in touched], made, queries)

    async def _shoppers(self, partition: int, decoded: Decoded[ShopperEvent]) -> list[Shopper]:
        by_user: dict[str, list[Item[ShopperEvent]]] = {}
        asking: dict[str, None] = {}
        is_trigger = self._policy.is_trigger
        for item in decoded.items:
            user = item.message.key
            if user in by_user:
                by_user[user].append(item)
            else:
                by_user[user] = [item]
            if is_trigger(item.message):
                asking[user] = None
        with stage("load"):
            states = await self._states(partition, by_user)
            feedback = dict(zip(asking, await self._told(partition, list(asking)), strict=True))
        policies = {True: self._policy, False: None}
        return [
            Shopper(user, states[user], items, policies[user in asking], feedback.get(user))
            for user, items in by_user.items()
        ]

    async def _states(self, partition: int, users: Collection[str]) -> dict[str, UserState]:
        """The users' states; this batch alone has them until it is committed."""
        states = self._users.take(partition, users)
        absent = [user for user in users if user not in states]
        for user, blob in zip(absent, await self.fence.load(partition, absent), strict=True):
            states[user] = UserState.from_bytes(blob)
        return states

    async def _told(self, partition: int, asking: list[str]) -> list[bytes | None]:
        return await self.fence.patiently(lambda: self._feedback.load(partition, asking), "loading feedback")

    def _rounds(self, shoppers: Sequence[Shopper], ends: Counter[Verdict]) -> Iterator[list[tuple[Shopper, Trigger]]]:
        """All users folded up to their next trigger, again and again until every event is folded."""
        oldest_ms = self._clock() - self._policy.ttl_ms
        waiting = list(shoppers)
        while waiting:
            with stage("fold"):
                asked = [(s, trigger) for s in waiting if (trigger := s.advance(ends, oldest_ms)) is not None]
            if asked:
                yield asked
            waiting = [shopper for shopper, _ in asked]

    async def _decided(self, batch: Batch, serving: Serving | None, triggers: list[Trigger]) -> list[Decision]:
        if serving is None:
            return self._silences(batch, triggers, "no_model")
        try:
            scored = await self._ranking.score(triggers, serving)
        except RankingFailed as error:
            log.error("ranking_failed", at=origin(batch.topic, batch.partition, batch.first), error=str(error))
            return self._silences(batch, triggers, "ranking_failed")
        place = self._place(batch)
        with stage("decide"):
            return [
                deciding.decide(trigger, score, serving, self._policy, place)
                for trigger, score in zip(triggers, scored, strict=True)
            ]

    def _place(self, batch: Batch) -> deciding.Place:
        return deciding.Place(batch.topic, batch.partition, self._clock(), self._statistics.version)

    def _silences(self, batch: Batch, triggers: list[Trigger], degraded: str) -> list[Decision]:
        place = self._place(batch)
        kb = self._knowledge.kb.version
        return [deciding.decide_without_model(t, self._policy, place, kb, degraded) for t in triggers]

    async def _begin(self, partition: int, claim: Claim) -> None:
        """A new claim: nothing known of the partition holds, and what a crash left behind is projected."""
        self._users.forget(partition)
        self._slates.forget(partition)
        await self.fence.patiently(
            lambda: self._projection.claimed(partition, claim), "reading what a crash left behind"
        )

    def _count(self, batch: Batch, work: Work) -> None:
        for outcome in ("applied", "late", "duplicate", "dead_lettered"):
            EVENTS.labels(outcome=outcome).inc(getattr(work.counts, outcome))
        for _, decision in work.made:
            DECISIONS.labels(decision=decision.decision, reason=decision.reason).inc()
            DECISION_SECONDS.observe(decision.latency_ms / 1000)
        now_ms = self._clock()
        observe_freshness("broker", "state", [record.timestamp_ms for record in batch.records], now_ms)
        observe_freshness("event", "state", [item.at_ms for item in work.decoded.items], now_ms)
        delay_s = (now_ms - work.decoded.watermark_ms) / 1000
        WATERMARK_DELAY_SECONDS.labels(partition=str(batch.partition)).set(delay_s)
