"""What the parts of the reasoner's bench found: engines raced on a device, and a world replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.ndcg_kept import Kept
from tests.benchmarks.ratios import Ratio
from tests.benchmarks.reasoner_speed import Variant
from tests.benchmarks.refreshing import COLD_EVENTS, Spent
from tests.benchmarks.rounds import Measured


@dataclass(frozen=True, slots=True)
class Speed:
    """A race of engines on one device: blocks of `prompts` texts; least cosines (raw, centred) with the peer."""

    device: str
    measured: Measured
    prompts: int
    cosines: Mapping[str, tuple[float, float]]
    providers: Mapping[str, str]

    def tokens_per_s(self, variant: Variant) -> float:
        """The median of a variant's blocks."""
        return self.measured.median(variant.name, lambda block: block.rate)

    def best(self, way: str) -> str | None:
        """The fastest of a way's batch sizes on mixed lengths, by its median; None if the way did not run."""
        names = [name for name in self.measured.blocks if name.startswith(f"{way}/") and " " not in name]
        return max(names, key=lambda name: self.measured.median(name, lambda block: block.rate), default=None)

    def ratio(self, ours: str | None, theirs: str | None) -> Ratio | None:
        """Tokens a second of one variant over another's; None if one did not run."""
        if ours is None or theirs is None or {ours, theirs} - self.measured.blocks.keys():
            return None
        return self.measured.ratio(ours, theirs)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One world's replay and what it kept of NDCG@10."""

    world: str
    spent: Spent
    kept: Kept
    events_per_s: float
    tokens_per_s: float

    def figures(self) -> Iterator[tuple[str, float, str]]:
        """(key, value, how it reads) of everything told about it."""
        spent, decisions = self.spent, max(self.spent.queries.total(), 1)
        yield "tokens_vs_every_event", spent.vs_every_event, "tokens / refresh on every event"
        if spent.cold is not None:
            yield "tokens_vs_every_event_cold", spent.cold, f"the same of the first {COLD_EVENTS:,} events"
        yield "need_changes_per_event", spent.need_changes / spent.events, "changes of need an event"
        yield "computed_per_event", spent.answered["computed"] / spent.events, "prompts computed an event"
        yield "requests_per_event", spent.requests / spent.events, "requests an event"
        yield "shared_of_requests", spent.answered["cached"] / max(spent.requests, 1), "requests that found a vector"
        yield "superseded_of_requests", spent.answered["superseded"] / max(spent.requests, 1), "requests superseded"
        yield "cache_hit_rate", spent.queries["fresh"] / decisions, "decisions with a fresh vector"
        yield "stale_rate", spent.queries["stale"] / decisions, "decisions with an older vector"
        yield "null_rate", spent.queries["null"] / decisions, "decisions without a vector"
        yield "ndcg_fresh", float(self.kept.fresh.mean()), "NDCG@10, always fresh"
        yield "ndcg_chance", self.kept.chance, "NDCG@10 by chance"
        yield "ndcg_null_kept", self.kept.null_ratio.value, "NDCG@10 without queries / always fresh"
        yield "second_phase_rate", sum(wait > 0 for wait in self.waits_ms) / max(len(spent.moments), 1), "decided again"
        yield "second_phase_wait_p50_s", self.wait_s(0.5), "p50 of the wait for that, s"
        yield "second_phase_wait_p99_s", self.wait_s(0.99), "p99 of the wait for that, s"
        yield "embedder_busy", spent.busy_ms / max(spent.span_ms, 1), "share of time the embedder works"

    @property
    def waits_ms(self) -> list[float]:
        """How late the vectors of decisions for somebody with a need came, where they came in time."""
        return [moment.late_ms for moment in self.spent.moments if moment.late_ms is not None]

    def wait_s(self, quantile: float) -> float:
        """A quantile of the waits that were any."""
        return float(np.quantile([wait for wait in self.waits_ms if wait > 0] or [0.0], quantile)) / 1000

    @property
    def suffix(self) -> str:
        """Of its keys: none for the declared world."""
        return "" if self.world == "declared" else f"_{self.world}"
