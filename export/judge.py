"""Champion against challenger on the same held-out decisions: promote only what is better beyond doubt.

Primary: the paired difference of the cross-fitted log-likelihood of what shoppers did with what they saw
(`export.likelihood`), in nats a decision, with a 95 % bootstrap interval over whole users. Guards: the reciprocal rank
of the clicked intents among all eligible ones, weighted by 1 / propensity (at most `MAX_WEIGHT`), must not fall beyond
doubt; logloss at position 1 no more than 1 % worse; finite and varied scores; queries that have not collapsed. This
compares two rankers on what the serving policy let shoppers see; it is no forecast of a click rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from export.likelihood import log_likelihood
from features.schema import Encoded
from training import metrics
from training.dataset import Dataset

MAX_WEIGHT = 10.0
MIN_CLICKED = 30
"""Fewer clicked requests than this are no evidence, whatever they say."""
LOGLOSS_SLACK = 0.01
MIN_RANK_SHARE = 0.5
"""A challenger's queries must keep this share of the champion's effective rank."""
_CHUNK = 256

F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


class Scorer(Protocol):
    """What the judge needs of a ranker; `export.session.Ranker` is one."""

    @property
    def intent_ids(self) -> Sequence[str]:
        """The intents of the logits' columns."""

    def score(self, encoded: Encoded, query: F32, has_query: Bools) -> F32:
        """Logits f32[B, N]."""

    def probability(self, logits: F32) -> F32:
        """The calibrated click probability at position 1."""


class Figures(BaseModel):
    """How one ranker does on the held-out decisions; None where it cannot be told (e.g. no click at all)."""

    model_config = ConfigDict(frozen=True)

    reciprocal_rank: float | None
    gauc_exposed: float | None
    gauc_all: float | None
    recall3: float | None
    mrr: float | None
    logloss: float | None
    ece: float | None


class Verdict(BaseModel):
    """The judgement, with the interval of the primary difference (challenger - champion) and why."""

    model_config = ConfigDict(frozen=True)

    promote: bool
    verdict: Literal["promote", "reject", "insufficient evidence"]
    delta: float | None
    low: float | None
    high: float | None
    n_requests: int
    n_clicked: int
    n_users: int
    champion: Figures
    challenger: Figures
    reasons: tuple[str, ...]


def judge(
    champion: Scorer,
    challenger: Scorer,
    heldout: Dataset,
    query: F32,
    has_query: Bools,
    *,
    seed: int,
    challenger_query: F32 | None = None,
) -> Verdict:
    """Judges on `heldout` (B requests) with latent queries f32[B, H] where bool[B] says so.

    `challenger_query` are the same requests' queries in the challenger's space, if it has another adapter. Neither
    ranker may have been trained on `heldout`.
    """
    theirs = query if challenger_query is None else challenger_query
    old, new = (_Scores(r, heldout, q, has_query) for r, q in ((champion, query), (challenger, theirs)))
    clicked = np.flatnonzero(heldout.has_click)
    reasons = [*_unsound(new), *_collapsed(query[has_query], theirs[has_query]), *_worse_logloss(old, new)]
    interval = None
    if len(clicked):
        users = np.array(heldout.user)
        gain = log_likelihood(new.logits, heldout) - log_likelihood(old.logits, heldout)
        interval = metrics.paired_cluster_bootstrap(gain, users, seed=seed)
        weight, before = old.reciprocal_rank(clicked)
        _, after = new.reciprocal_rank(clicked)
        lost = metrics.paired_cluster_bootstrap(after - before, users[clicked], seed=seed, weights=weight)
        reasons += [*_not_better(interval), *_ranks_worse(lost)]
    enough = len(clicked) >= MIN_CLICKED
    if not enough:
        reasons.insert(0, f"{len(clicked)} clicked requests are too few: at least {MIN_CLICKED} are needed")
    promote = enough and not reasons
    return Verdict(
        promote=promote,
        verdict="promote" if promote else "reject" if enough else "insufficient evidence",
        delta=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n_requests=len(heldout),
        n_clicked=len(clicked),
        n_users=len(set(heldout.user)),
        champion=old.figures(),
        challenger=new.figures(),
        reasons=tuple(reasons) or (_better(interval),),
    )


class _Scores:
    """One ranker's logits in the columns of the held-out dataset; an intent it does not know ranks last."""

    def __init__(self, ranker: Scorer, heldout: Dataset, query: F32, has_query: Bools) -> None:
        self.ranker, self.heldout = ranker, heldout
        column = {intent_id: i for i, intent_id in enumerate(ranker.intent_ids)}
        self.known = np.array([i in column for i in heldout.intent_ids], np.bool_)
        source = [column[i] for i in heldout.intent_ids if i in column]
        own = [
            ranker.score(heldout.encoded.take(part), query[part], has_query[part])[:, source]
            for part in _chunks(len(heldout))
        ]
        self.logits = np.full((len(heldout), len(heldout.intent_ids)), -np.inf, np.float32)
        self.logits[:, self.known] = np.concatenate(own) if own else 0.0

    def reciprocal_rank(self, rows: NDArray[np.int64]) -> tuple[metrics.Floats, metrics.Floats]:
        """For each row its clicks' summed weight and weighted mean reciprocal rank, both f64[len(rows)]."""
        h = self.heldout
        among = metrics.ranks(self.logits[rows], h.eligible[rows])
        of_slot = np.take_along_axis(among, np.maximum(h.exposed[rows], 0), axis=1)
        weight = h.clicks[rows] * np.minimum(1.0 / np.maximum(h.propensity[rows], 1e-9), MAX_WEIGHT)
        total = weight.sum(axis=1)
        return total, (weight / of_slot).sum(axis=1) / total

    def first_position(self) -> tuple[F32, F32]:
        """Clicks and calibrated probabilities of the prompts at position 1 that this ranker knows."""
        h = self.heldout
        rows, slots = np.nonzero((h.positions == 1) & self.known[np.maximum(h.exposed, 0)])
        logits = self.logits[rows, h.exposed[rows, slots]]
        return h.clicks[rows, slots], self.ranker.probability(logits)

    def figures(self) -> Figures:
        """All metrics of algorithm.md 3.1 that the judge reports."""
        h, labels = self.heldout, self.heldout.labels
        rows, slots = np.nonzero(h.seen)
        exposed = metrics.gauc(
            h.clicks[rows, slots], self.logits[rows, h.exposed[rows, slots]], np.array(h.user, object)[rows].astype(str)
        )
        request, intent = np.nonzero(h.eligible)
        per_request = 1.0 / np.maximum(h.eligible.sum(axis=1), 1)[request]
        whole = metrics.gauc(labels[request, intent], self.logits[request, intent], request, per_request)
        clicks, probability = self.first_position()
        clicked = np.flatnonzero(h.has_click)
        return Figures(
            reciprocal_rank=_told(metrics.snips(*reversed(self.reciprocal_rank(clicked)))),
            gauc_exposed=_told(exposed.value),
            gauc_all=_told(whole.value),
            recall3=_told(metrics.recall_at_k(labels, self.logits, 3, h.eligible)),
            mrr=_told(metrics.mrr(labels, self.logits, h.eligible)),
            logloss=_told(metrics.logloss(clicks, probability)),
            ece=_told(metrics.ece(clicks, probability)) if len(clicks) else None,
        )


def _chunks(total: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, total, _CHUNK):
        yield np.arange(start, min(start + _CHUNK, total))


def _told(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _unsound(new: _Scores) -> list[str]:
    logits = new.logits[:, new.known]
    if not np.isfinite(logits).all():
        return ["the challenger's scores are not all finite"]
    if logits.size and float(np.ptp(logits, axis=1).max()) < 1e-6:
        return ["the challenger gives all intents the same score"]
    return []


def _collapsed(before: F32, after: F32) -> list[str]:
    """Whether the challenger's space holds far fewer directions than the champion's (algorithm.md, G6)."""
    if len(after) < 2 or after is before:
        return []
    if not np.isfinite(after).all():
        return ["the challenger's queries are not all finite"]
    old, new = effective_rank(before), effective_rank(after)
    if new < MIN_RANK_SHARE * old:
        return [f"the challenger's queries have collapsed: effective rank {new:.1f}, the champion's is {old:.1f}"]
    return []


def effective_rank(vectors: F32) -> float:
    """Exp of the entropy of the normalised singular values of the centred distinct rows; 1 = one direction."""
    rows = np.unique(vectors, axis=0)
    spread = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    share = spread[spread > 1e-9 * max(float(spread.max(initial=0.0)), 1e-30)]
    if not len(share):
        return 1.0
    share = share / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _worse_logloss(old: _Scores, new: _Scores) -> list[str]:
    before, after = metrics.logloss(*old.first_position()), metrics.logloss(*new.first_position())
    if after <= before * (1 + LOGLOSS_SLACK) or np.isnan(before):
        return []
    return [f"logloss at position 1 is {after:.4f}, worse than {before:.4f} by more than {LOGLOSS_SLACK:.0%}"]


def _not_better(interval: metrics.Interval) -> list[str]:
    if interval.low > 0:
        return []
    return [f"{_change(interval)}: not above 0"]


def _ranks_worse(interval: metrics.Interval) -> list[str]:
    if interval.high >= 0:
        return []
    return [f"reciprocal rank falls by {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"]


def _better(interval: metrics.Interval | None) -> str:
    if interval is None:
        return "nothing to compare"
    return f"{_change(interval)}: above 0, and all guards hold"


def _change(interval: metrics.Interval) -> str:
    return f"log-likelihood changes by {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] nats a decision"
