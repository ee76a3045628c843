"""One closed-loop round: replay the log, align the adapter, retrain the ranker, judge, publish (algorithm.md 2.6).

Only deploy may see both ends of this road: what training learns and what the stream serves.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy import figures
from deploy.building import Material, checkpoint_path, train_and_publish
from deploy.publishing import Released, live_knowledge, release, released
from deploy.screen import Advance
from export import session
from export.judge import Verdict, judge
from export.registry import Registry
from export.session import Ranker
from features.adapter import Adapter
from features.contract import to_ms
from features.querycache import QueryCache
from features.redis_client import open_redis
from features.settings import Connections
from features.vectors import ensure_intent_vectors
from training import replay as log
from training.checkpoint import Checkpoint
from training.dataset import Dataset, build, split_by_time
from training.rgcl import Aligned, fit_adapter, ranking_reward

TRAIN_SHARE = 0.65
"""The earlier share of the window trains; the rest judges."""
MIN_EXAMPLES = 60

Spoil = Callable[[Dataset], Dataset]


class TooLittleToLearn(RuntimeError):
    """The window of the log holds too few seen prompts for a round."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round led to; `released` is None unless the challenger was promoted and published."""

    champion: str
    challenger: str
    verdict: Verdict
    aligned: Aligned
    released: Released | None
    examples: int
    seconds: float

    def describe(self) -> str:
        """Some lines for a person."""
        verdict = self.verdict
        interval = "no clicks to compare on"
        if verdict.delta is not None and verdict.low is not None and verdict.high is not None:
            interval = f"{verdict.delta:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}] nats a decision"
        lines = [
            f"{self.challenger} against {self.champion}: {verdict.verdict}, {interval}, {verdict.n_clicked} clicks",
            *verdict.reasons,
        ]
        return "\n".join([*lines, self.released.describe()] if self.released else lines)

    def figures(self) -> dict[str, figures.Figure]:
        """The same as flat figures."""
        verdict = self.verdict
        return {
            "verdict": verdict.verdict,
            "why": "; ".join(verdict.reasons),
            "delta": verdict.delta,
            "low": verdict.low,
            "high": verdict.high,
            "n_requests": verdict.n_requests,
            "n_clicked": verdict.n_clicked,
            "n_users": verdict.n_users,
            "examples": self.examples,
            "champion": self.champion,
            "challenger": self.challenger,
            "champion_recall3": verdict.champion.recall3,
            "challenger_recall3": verdict.challenger.recall3,
            "champion_logloss": verdict.champion.logloss,
            "challenger_logloss": verdict.challenger.logloss,
            "ready_share": self.released.ready_share if self.released else None,
            "seconds": self.seconds,
            **self.aligned.metrics(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """The serving bundle, with what a round goes on from."""

    ranker: Ranker
    adapter: Adapter
    checkpoint: Checkpoint


def run_round(
    connections: Connections,
    *,
    since: datetime | None = None,
    seed: int = 7,
    publish: bool = True,
    spoil: Spoil = lambda dataset: dataset,
    progress: Advance = lambda *_: None,
) -> Round:
    """A whole round over the log since `since`. `spoil` may damage the training half: placebos must be refused.

    Writes `.out/recalibrate.json`. Raises `TooLittleToLearn`.
    """
    began_s = time.monotonic()
    registry = Registry(connections.registry)
    champion = _champion(connections, registry)
    material, dataset = _gather(connections, champion, since, progress)
    train_half, judged_half = split_by_time(dataset, TRAIN_SHARE)
    taught = spoil(train_half)
    aligned = _align(champion, material, taught, seed)
    built = train_and_publish(
        material,
        taught,
        aligned.adapter,
        registry,
        cache=connections.cache,
        seed=seed,
        previous=(champion.checkpoint, champion.adapter),
        metrics=aligned.metrics(),
        note=f"round after {champion.ranker.version}",
        progress=progress,
    )
    challenger = session.load(built.folder)
    verdict = _judged(champion, (challenger, aligned.adapter), material, judged_half, seed)
    published = (
        release(connections, built.version, note=verdict.reasons[0][:200]) if verdict.promote and publish else None
    )
    finished = Round(
        champion=champion.ranker.version,
        challenger=built.version,
        verdict=verdict,
        aligned=aligned,
        released=published,
        examples=len(dataset),
        seconds=time.monotonic() - began_s,
    )
    figures.write("recalibrate", finished.figures())
    return finished


def evaluate_bundles(connections: Connections, version: str, against: str | None, since: datetime | None) -> str:
    """Judges one bundle of the registry against another (the serving one) on the replayed log."""
    registry = Registry(connections.registry)
    champion = _champion(connections, registry, against)
    folder = registry.path(version)
    challenger = session.load(folder), Adapter.load(folder / "adapter.safetensors")
    material, dataset = _gather(connections, champion, since, lambda *_: None)
    verdict = _judged(champion, challenger, material, dataset, seed=0)
    figures.write("evaluate", {**verdict.champion.model_dump(), "verdict": verdict.verdict, "delta": verdict.delta})
    return f"{version} against {champion.ranker.version}: {verdict.model_dump_json(indent=2)}"


def _champion(connections: Connections, registry: Registry, version: str | None = None) -> Champion:
    if version is None:
        serving = released(connections, "serving")
        if not serving:
            raise TooLittleToLearn(
                "nothing serves yet: build and release model v0 with `rgalign train`, `rgalign release serve`"
            )
        version = serving[-1].version
    folder = registry.path(version)
    return Champion(
        session.load(folder),
        Adapter.load(folder / "adapter.safetensors"),
        Checkpoint.load(checkpoint_path(registry, version)),
    )


def _gather(
    connections: Connections, champion: Champion, since: datetime | None, progress: Advance
) -> tuple[Material, Dataset]:
    """The window as examples, with the reasoner's states that the query cache holds for it."""
    kb = live_knowledge(connections)
    vectors = ensure_intent_vectors(kb, connections.cache, progress=progress)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "window"
        window = log.Window(since_ms=None if since is None else to_ms(since))
        log.replay(connections, folder, window, sources=("decisions", "outcomes"), progress=progress)
        dataset = build(log.read(folder, "decisions"), log.read(folder, "outcomes"), vectors.ids)
    if len(dataset) < MIN_EXAMPLES:
        raise TooLittleToLearn(
            f"the log holds {len(dataset)} seen prompts, a round needs {MIN_EXAMPLES} (set aside: {dataset.dropped}): "
            "let more shoppers come, or choose an earlier --since"
        )
    base_id = champion.ranker.manifest.base_id
    states = asyncio.run(_states(connections, base_id, sorted(set(dataset.state_hash)), vectors.state.shape[1]))
    return Material(kb, vectors, base_id, states), dataset


async def _states(
    connections: Connections, base_id: str, hashes: list[str], width: int
) -> dict[str, NDArray[np.float32]]:
    async with open_redis(connections) as redis:
        found = await QueryCache(redis, connections).read_base(base_id, hashes, width)
    return {name: state for name, state in zip(hashes, found, strict=True) if state is not None}


def _align(champion: Champion, material: Material, dataset: Dataset, seed: int) -> Aligned:
    """RG-CL's adapter step, rewarded by the serving ranker."""
    query, has_query = material.queries(dataset, champion.adapter)
    reward = ranking_reward(champion.checkpoint, dataset, material.vectors, query, has_query)
    return fit_adapter(material.raw(dataset)[0], reward, material.vectors, champion.adapter, seed)


def _judged(
    champion: Champion, challenger: tuple[Ranker, Adapter], material: Material, dataset: Dataset, seed: int
) -> Verdict:
    ranker, adapter = challenger
    query, has_query = material.queries(dataset, champion.adapter)
    theirs, _ = material.queries(dataset, adapter)
    return judge(champion.ranker, ranker, dataset, query, has_query, seed=seed, challenger_query=theirs)
