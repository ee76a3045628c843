"""`make bench-reasoner`: what latent queries cost, how fresh they are, and what they cost the event path, in one run.

Speed. Every engine is a process with one CPU thread that embeds the same texts of log-normal length, in blocks that
alternate in random order: ours by backend (torch, ONNX Runtime) and arithmetic, and sentence-transformers' encode on
the same model folder with last-token pooling, over the same torch. Vectors are asserted equal first. `<way>/<n>` gives
n texts at a time, `/all` the whole block. The headline is our default against sentence-transformers' best batch size,
both fp32; 8-bit is a row of its own, told against fp32. Trap: prompts that begin alike are cheaper for us, so the mix
has different ones; the world's own prompts are the rows named so.

SIMULATED: tokens and freshness. Visits of the declared world through the real fold, request rules, queue and cache
(`refreshing`), with one embedder of the measured speed; tokens against a refresh on every event, and NDCG@10 of model
v0 with vectors as they were against always fresh (`ndcg_kept`). The same in a world whose needs flip within a visit.
Trap: a ratio of tokens says little without the rate at which needs change, which stands beside it, and NDCG that is
kept says little where the ranker without any query keeps it too, which stands there as well. Vectors are shared by
users in equal places, so that the ratio falls while the cache fills, and further than in a shop whose shoppers never
type the same text twice: the first events from an empty cache on are told apart.

Event path. Event to decision p99 in the stack of `make demo`, with the embedder at work and held still (`event_path`),
at half the machine's load, with the replay's prompts cached, on ONNX Runtime: it is proved first (`rgalign
reasoner check`), so that backend auto takes it. Trap: on a machine that is full anyway, or with an embedder that first
has to catch up, it tells something else.

GPU rows and the share of the FLOP roofline are told where torch sees CUDA, else they are null.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.model_zero import prepare
from deploy.screen import console, progress
from export import session
from features.adapter import Adapter
from features.knowledge import load
from features.models import ensure_reasoner
from features.parity_record import stored
from features.reasoner_plan import ONNX_ON_CPU, planned
from features.reasoner_settings import ReasonerSettings
from features.settings import Connections
from features.vectors import embed_kept, sources
from tests.benchmarks import event_path, ndcg_kept, reasoner_telling, refreshing, roofline, visits
from tests.benchmarks.event_path import Timed
from tests.benchmarks.prompts import Lengths
from tests.benchmarks.reasoner_findings import Refreshed, Speed
from tests.benchmarks.reasoner_speed import WORLD, Advance, Race, Variant, check_equality, loaded
from tests.benchmarks.reasoner_ways import ALL, CPU, CUDA, Way
from tests.benchmarks.refreshing import Spent

DEFAULT, PEER, EIGHT_BIT = "torch_fp32", "st_fp32", "onnx_int8"
OURS = Variant(DEFAULT, ALL)
CUDA_VARIANTS = (
    *(Variant("st_cuda", batch) for batch in (32, 128, 512)),
    Variant("torch_cuda", ALL), Variant("torch_cuda", ALL, is_again=True),
)  # fmt: skip
CUDA_PROMPTS = 2048
TOLD = 600
"""Prompts of the world that texts are made of."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `prompts` in a block; `vectors`: how many prompts are embedded for NDCG in each world;
    `known`: how many of the replay's first prompts the event path's cache has."""

    rounds: int
    race_s: float
    prompts: int
    variants: tuple[Variant, ...]
    events: int
    events_per_s: float
    vectors: int
    known: int
    event_path: event_path.Length


FULL = Size(
    rounds=20, race_s=420, prompts=32,
    variants=(
        *(Variant(PEER, batch) for batch in (1, 8, 32)),
        *(Variant(DEFAULT, batch) for batch in (1, 8, ALL)), Variant(DEFAULT, ALL, is_again=True),
        Variant("onnx_fp32", 1), Variant("onnx_fp32", 8), Variant(EIGHT_BIT, 8),
        Variant("st_bf16", 32), Variant("torch_bf16", ALL),
        Variant(PEER, 32, WORLD), Variant(DEFAULT, ALL, WORLD),
    ),
    events=200_000, events_per_s=10.0, vectors=350, known=10_000, event_path=event_path.Length(rounds=34, warm_s=60.0),
)  # fmt: skip
QUICK = Size(
    rounds=7, race_s=75, prompts=16,
    variants=(
        *(Variant(PEER, batch) for batch in (1, 8, 32)), OURS, Variant(DEFAULT, ALL, is_again=True),
        Variant(EIGHT_BIT, 8),
    ),
    events=50_000, events_per_s=10.0, vectors=50, known=300, event_path=event_path.Length(rounds=7, warm_s=25.0),
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """One run."""

    size: Size
    seed: int
    cache: Path
    advance: Advance

    def speed(self) -> Iterator[Speed]:
        """The engines' race on the CPU, then on the GPU if there is one."""
        yield self._race("cpu", CPU, self.size.variants, self.size.prompts)
        if has_cuda():
            yield self._race("cuda", CUDA, CUDA_VARIANTS, CUDA_PROMPTS)

    def _race(self, device: str, ways: Mapping[str, Way], variants: tuple[Variant, ...], prompts: int) -> Speed:
        folder = ensure_reasoner(self.cache)
        wanted = {name: way for name, way in ways.items() if name in {variant.way for variant in variants}}
        with loaded(wanted, folder, self.advance) as engines:
            told = visits.prompts(max(TOLD, prompts), self.seed)
            race = Race(engines, told, Lengths(folder), prompts, self.seed)
            cosines = check_equality(race, wanted)
            able = [variant for variant in variants if variant.way in engines]
            measured = race.run(able, rounds=self.size.rounds, budget_s=self.size.race_s, advance=self.advance)
            providers = {name: engine.provider for name, engine in engines.items()}
        return Speed(device, measured, prompts, cosines, providers)

    def refreshed(self, tokens_per_s: float) -> Iterator[Refreshed]:
        """The declared world and the one whose needs flip, each with what NDCG@10 its decisions kept."""
        folder, kb = ensure_reasoner(self.cache), load()
        bundle = prepare(self.cache).folder
        reasoner = sources(self.cache)[1]
        model = ndcg_kept.Model(
            session.load(bundle), Adapter.load(bundle / "adapter.safetensors"), kb.intents,
            lambda texts: embed_kept(texts, self.cache, reasoner, self.advance),
        )  # fmt: skip
        for name, is_flipping in (("declared", False), ("flipping", True)):
            where = visits.world(is_flipping=is_flipping)
            events = visits.visited(where, self.size.events_per_s, self.size.events, self.seed)
            self.advance(f"replay the {name} world", 0, 1)
            spent = refreshing.replay(events, Lengths(folder), tokens_per_s)
            self.advance(f"replay the {name} world", 1, 1)
            moments = ndcg_kept.sample(spent.moments[len(spent.moments) // 2 :], self.size.vectors, self.seed)
            kept = ndcg_kept.measure(moments, model)
            yield Refreshed(name, spent, kept, self.size.events_per_s, tokens_per_s)

    def event_path(self, before: Spent) -> Timed:
        """Event to decision with the embedder on and off, the cache as a replay of other visits left it."""
        reasoner, told = sources(self.cache)[1], list(before.prompts.values())[: self.size.known]
        vectors = embed_kept(told, self.cache, reasoner, self.advance)
        known = event_path.Known(reasoner.base_id, dict(zip(told, vectors, strict=True)))
        return event_path.measured(self.cache, known, self.size.event_path, self.seed + 1, self.advance)

    def roofline(self) -> float | None:
        """The share of the FLOP roofline at 50 tokens, where there is a GPU."""
        return roofline.share(ensure_reasoner(self.cache), 50) if has_cuda() else None


def has_cuda() -> bool:
    """Whether torch sees CUDA."""
    import torch

    return bool(torch.cuda.is_available())


def _prepare(cache: Path, advance: Advance) -> None:
    """Whatever is built once and kept, before the clock starts: models, v0, the reasoner's graphs and their proof."""
    from export.reasoner_check import check_reasoner
    from export.reasoner_graph import ensure_graph

    prepare(cache, progress=advance)
    folder, settings = ensure_reasoner(cache), ReasonerSettings(cache=cache, backend="onnx")
    for dtype in ("fp32", "int8"):
        ensure_graph(folder, cache, dtype, advance)
    plan = planned(folder, settings)
    if stored(cache, plan.base_id, ONNX_ON_CPU) is None:
        check_reasoner(folder, settings, progress=advance)


def main() -> int:
    """Runs the benchmark; QUICK=1 for the short one, SEED=n for other texts, visits and order."""
    is_quick, seed = bool(os.environ.get("QUICK")), int(os.environ.get("SEED", "1"))
    shown, cache = console(), Connections().cache
    with progress(shown) as advance:
        _prepare(cache, advance)
        began_s = time.monotonic()
        bench = Bench(QUICK if is_quick else FULL, seed, cache, advance)
        speeds = {speed.device: speed for speed in bench.speed()}
        cpu = speeds["cpu"]
        worlds = {found.world: found for found in bench.refreshed(cpu.tokens_per_s(OURS))}
        timed, share = bench.event_path(worlds["declared"].spent), bench.roofline()
    about = reasoner_telling.Circumstances(seed, is_quick, share, began_s)
    reasoner_telling.tell(speeds, worlds, timed, about, shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
