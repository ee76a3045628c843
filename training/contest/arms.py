"""Every arm of the comparison by its number in the design's required table, with the settings that its trials chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from training.baselines.arm import Arm, Settings
from training.baselines.cross_network import CrossNetwork
from training.baselines.factorization import FactorizationMachine
from training.baselines.full_user_tower import full_qerec
from training.baselines.interest import InterestNetwork
from training.baselines.lambdamart import LambdaMart
from training.baselines.logistic import Logistic
from training.baselines.neural import Build, Neural, baseline, qerec
from training.baselines.popularity import Popularity
from training.baselines.two_tower import TwoTower
from training.baselines.zero_shot import ZeroShot
from training.contest.queries import Query

TUNED = Path(__file__).with_name("tuned.yaml")
TRIALS = 6
"""How many settings every arm tries in a tuning world."""


@dataclass(frozen=True)
class Entry:
    """An arm: its number and title in the table, how it is made, what it may be set to, and its queries.

    `is_seeded` says whether a seed changes anything. `like` names the arm whose settings it shares, `pooling` how the
    reasoner's states were pooled (`training.pooled_states`).
    """

    key: str
    number: str
    title: str
    make: Callable[..., Arm]
    grid: tuple[Settings, ...] = ({},)
    query: Query = Query.NONE
    is_seeded: bool = True
    like: str = ""
    pooling: str = "slot"

    def arm(self, settings: Settings | None = None) -> Arm:
        """The arm with these settings; with its tuned ones when none are given."""
        return self.make(**(tuned().get(self.like or self.key, {}) if settings is None else settings))


def _neural(build: Build) -> Callable[..., Arm]:
    return lambda **settings: Neural(build, **settings)


_SLOPES: tuple[Settings, ...] = tuple(
    {"rate": rate, "decay": decay, "dropout": dropout}
    for rate, decay, dropout in (
        (1e-3, 0.1, 0.2), (2e-3, 0.1, 0.2), (4e-3, 0.1, 0.2), (2e-3, 0.02, 0.2), (2e-3, 0.5, 0.2), (2e-3, 0.1, 0.4),
    )
)  # fmt: skip
_TREES: tuple[Settings, ...] = tuple(
    {"leaves": leaves, "rate": rate, "rounds": rounds, "least": least}
    for leaves, rate, rounds, least in (
        (15, 0.05, 100, 20), (7, 0.05, 150, 20), (31, 0.05, 100, 20), (15, 0.1, 60, 20), (15, 0.05, 100, 60),
        (7, 0.1, 150, 60),
    )
)  # fmt: skip
_PRIORS: tuple[Settings, ...] = tuple({"prior": prior} for prior in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0))
_STRENGTHS: tuple[Settings, ...] = tuple({"strength": c} for c in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0))

ENTRIES: tuple[Entry, ...] = (
    Entry("popularity", "0", "Popularity (order state x page x language)", Popularity, _PRIORS, is_seeded=False),
    Entry("lr", "1", "Logistic regression", Logistic, _STRENGTHS, is_seeded=False),
    Entry("fm", "2", "Factorization machine", _neural(baseline(FactorizationMachine)), _SLOPES),
    Entry("lightgbm", "3", "LightGBM LambdaRank", lambda **s: LambdaMart(with_cosine=False, **s), _TREES),
    Entry("two_tower", "4", "Two-tower AutoInt+MoE (the paper's reference)", _neural(baseline(TwoTower)), _SLOPES),
    Entry("dcnv2", "5", "DCN-V2", _neural(baseline(CrossNetwork)), _SLOPES),
    Entry("din", "6", "DIN", _neural(baseline(InterestNetwork)), _SLOPES),
    Entry("zero_shot", "7", "Zero-shot centred cosine", ZeroShot, query=Query.OWN, is_seeded=False),
    Entry(
        "lightgbm_cosine", "7b", "LightGBM with the query-intent cosine",
        lambda **s: LambdaMart(with_cosine=True, **s), _TREES, Query.OWN,
    ),
    Entry("qerec", "8", "QE-Rec, frozen LLM", _neural(qerec), _SLOPES, Query.OWN),
    Entry("qerec_null", "8-", "QE-Rec without queries", _neural(qerec), query=Query.NONE, like="qerec"),
    Entry("full", "8+", "QE-Rec, equation 2 in full", _neural(full_qerec), query=Query.OWN, like="qerec"),
    Entry("mean", "A", "QE-Rec, mean pooling", _neural(qerec), query=Query.OWN, like="qerec", pooling="mean"),
    Entry("eos", "A", "QE-Rec, an appended EOS", _neural(qerec), query=Query.OWN, like="qerec", pooling="slot_eos"),
    Entry("text_end", "A", "QE-Rec, no slot", _neural(qerec), query=Query.OWN, like="qerec", pooling="text_end"),
    Entry("shuffled", "D", "QE-Rec, shuffled queries", _neural(qerec), query=Query.SHUFFLED, like="qerec"),
    Entry("random", "D", "QE-Rec, random vectors", _neural(qerec), query=Query.RANDOM, like="qerec"),
    Entry("bag", "D", "QE-Rec, bag-of-facts encoder", _neural(qerec), query=Query.BAG, like="qerec"),
)  # fmt: skip
BY_KEY = {entry.key: entry for entry in ENTRIES}


@cache
def tuned() -> dict[str, dict[str, float]]:
    """The committed settings of each arm, {key: {setting: value}}; empty before anything was tuned."""
    told: dict[str, dict[str, float]] = yaml.safe_load(TUNED.read_text())["settings"] if TUNED.exists() else {}
    return told
