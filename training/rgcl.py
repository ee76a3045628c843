"""RG-CL, the representation-level alignment, as an adapter on cached states: equations (9) and (16)-(19), our reading.

In this version QE-Rec itself is the reward model, its own training requests included (no ensemble, no cross-fitting),
the reasoner stays frozen, and what is trained is the residual head of `features.adapter`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from features.adapter import Adapter
from features.vectors import IntentVectors
from training.checkpoint import Checkpoint
from training.cycle import scores
from training.dataset import Dataset
from training.losses import inverse_propensity
from training.qerec import unit

F32 = NDArray[np.float32]
TEMPERATURE = 0.05
TEACHER_SHARE = 0.3
DRIFT_WEIGHT = 0.1
SPREAD_WEIGHT = 0.05
RANK = 64
HELD_OUT_SHARE = 0.2
MIN_CLICKS = 40


@dataclass(frozen=True)
class Reward:
    """What the ranker says about M clicked requests that had a query, in order of event time.

    rows i64[M] into the dataset, clicked i64[M] into the intents, gain f32[M] of (9) in nats, teacher f32[M,N] the
    ranker's probabilities over eligible bool[M,N], weight f32[M] omega of (6), the click's inverse propensity.
    """

    rows: NDArray[np.int64]
    clicked: NDArray[np.int64]
    gain: F32
    teacher: F32
    eligible: NDArray[np.bool_]
    weight: F32

    @property
    def confidence(self) -> F32:
        """c_x of (16): clip(sigmoid(gain / 0.5), 0.2, 0.9)."""
        return np.asarray(np.clip(0.5 + 0.5 * np.tanh(self.gain), 0.2, 0.9), np.float32)


@dataclass(frozen=True)
class Aligned:
    """The adapter to serve and what was measured on the held-out, latest clicks (recall@3 of the centred cosine)."""

    adapter: Adapter
    improved: bool
    recall_before: float
    recall_after: float
    clicks: int

    def metrics(self) -> dict[str, float]:
        """Flat figures for a manifest."""
        return {
            "adapter_improved": float(self.improved),
            "adapter_recall3_before": self.recall_before,
            "adapter_recall3_after": self.recall_after,
            "adapter_clicks": float(self.clicks),
        }


def ranking_reward(
    checkpoint: Checkpoint, dataset: Dataset, vectors: IntentVectors, query: F32, has_query: NDArray[np.bool_]
) -> Reward:
    """Equation (9), g = log P(i+|x,q) - log P(i+|x,null), with QE-Rec as the reward; query f32[B,H] as it ranked.

    The reward is what the ranker learned of queries, however far it trusts them when it serves.
    """
    model = copy.deepcopy(checkpoint.model)
    model.trust().fill_(1.0)
    checkpoint = replace(checkpoint, model=model)
    rows = np.flatnonzero(dataset.has_click & has_query)
    chosen = dataset.take(rows)
    slot = chosen.clicks.argmax(axis=1)
    clicked = chosen.exposed[np.arange(len(rows)), slot]
    with_query = _log_shares(scores(checkpoint, chosen, vectors, query[rows], has_query[rows]), chosen.eligible)
    without = np.zeros(len(rows), np.bool_)
    with_null = _log_shares(scores(checkpoint, chosen, vectors, query[rows], without), chosen.eligible)
    at = (np.arange(len(rows)), clicked)
    return Reward(
        rows=rows,
        clicked=clicked,
        gain=with_query[at] - with_null[at],
        teacher=np.exp(with_query),
        eligible=chosen.eligible,
        weight=inverse_propensity(chosen.propensity[at[0], slot]),
    )


def fit_adapter(
    states: F32,
    reward: Reward,
    vectors: IntentVectors,
    previous: Adapter,
    seed: int,
    *,
    epochs: int = 60,
    rate: float = 1e-3,
) -> Aligned:
    """Trains a copy of `previous` on raw states f32[B,H] of the dataset; keys are the intents' centred states.

    `vectors` must be in the order of the dataset's intents. The latest fifth of the clicks decides when to stop and
    whether the result is served at all: without a better recall@3 there, `previous` comes back.
    """
    anchors = torch.from_numpy(np.ascontiguousarray(states[reward.rows], np.float32))
    problem = _Problem(anchors, _keys(vectors), reward, previous)
    cut = len(anchors) - max(1, round(HELD_OUT_SHARE * len(anchors)))
    if len(anchors) < MIN_CLICKS:
        return Aligned(previous, improved=False, recall_before=0.0, recall_after=0.0, clicks=len(anchors))
    train, held_out = torch.arange(cut), torch.arange(cut, len(anchors))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head, before, after = _fit(problem, train, held_out, epochs, rate)
    improved = after > before
    adapter = head.adapter(previous) if improved else previous
    return Aligned(adapter, improved, before, after if improved else before, len(anchors))


class _Head(nn.Module):
    """`features.adapter.Adapter` with gradients; its mean stays."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.mean = torch.from_numpy(adapter.mean.copy())
        self.w1, self.b1, self.w2 = (
            nn.Parameter(torch.from_numpy(part.copy())) for part in (adapter.w1, adapter.b1, adapter.w2)
        )

    def forward(self, states: Tensor) -> Tensor:
        centred = states - self.mean
        return centred + functional.gelu(centred @ self.w1 + self.b1, approximate="tanh") @ self.w2

    def adapter(self, previous: Adapter) -> Adapter:
        w1, b1, w2 = (part.detach().numpy().copy() for part in (self.w1, self.b1, self.w2))
        return Adapter(mean=previous.mean, w1=w1, b1=b1, w2=w2)


class _Problem:
    """Anchors, keys and the targets (16) of one alignment."""

    def __init__(self, anchors: Tensor, keys: Tensor, reward: Reward, previous: Adapter) -> None:
        self.anchors, self.keys, self.start = anchors, keys, previous
        self.clicked = torch.from_numpy(reward.clicked)
        self.eligible = torch.from_numpy(reward.eligible)
        self.confidence = torch.from_numpy(reward.confidence)
        teacher = torch.from_numpy(np.asarray(reward.teacher, np.float32))
        self.targets = _targets(teacher, self.clicked, torch.from_numpy(np.asarray(reward.weight, np.float32)))
        positive = teacher.gather(1, self.clicked.unsqueeze(1))
        self.too_good = (teacher > 0.5 * positive) & (self.targets == 0)
        with torch.no_grad():
            self.before = unit(_Head(previous)(anchors))

    def loss(self, head: _Head, index: Tensor) -> Tensor:
        """Equation (17) over all eligible intents, plus the drift and spread terms of (19)."""
        z = unit(head(self.anchors[index]))
        cosine = z @ self.keys.T
        targets, clicked = self.targets[index], self.clicked[index]
        false_negative = (cosine.detach() > cosine.detach().gather(1, clicked.unsqueeze(1)) + 0.1) & (targets == 0)
        out = ~self.eligible[index] | false_negative | self.too_good[index]
        out &= targets == 0
        each = -(targets * torch.log_softmax((cosine / TEMPERATURE).masked_fill(out, -1e9), -1)).sum(-1)
        weight = self.confidence[index]
        spread = functional.relu(0.5 / z.shape[1] ** 0.5 - z.std(0, correction=0)).sum()
        drift = (z - self.before[index]).square().sum(-1).mean()
        return (weight * each).sum() / weight.sum() + DRIFT_WEIGHT * drift + SPREAD_WEIGHT * spread

    def recall_at_3(self, head: _Head, index: Tensor) -> float:
        """How often the clicked intent is among the three nearest eligible ones."""
        with torch.no_grad():
            cosine = unit(head(self.anchors[index])) @ self.keys.T
        best = cosine.masked_fill(~self.eligible[index], -2.0).topk(min(3, cosine.shape[1])).indices
        return float((best == self.clicked[index].unsqueeze(1)).any(1).float().mean())


def _fit(problem: _Problem, train: Tensor, held_out: Tensor, epochs: int, rate: float) -> tuple[_Head, float, float]:
    """The best head on `held_out`, its recall@3 there before and after; stops 8 epochs after the best one."""
    head = _Head(problem.start)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    before = best = problem.recall_at_3(head, held_out)
    kept, waited = copy.deepcopy(head.state_dict()), 0
    for _ in range(epochs):
        for index in torch.split(train[torch.randperm(len(train))], 128):
            optimizer.zero_grad(set_to_none=True)
            problem.loss(head, index).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        recall = problem.recall_at_3(head, held_out)
        waited = 0 if recall > best else waited + 1
        if recall > best:
            best, kept = recall, copy.deepcopy(head.state_dict())
        if waited >= 8:
            break
    head.load_state_dict(kept)
    return head, before, best


def _targets(teacher: Tensor, clicked: Tensor, weight: Tensor) -> Tensor:
    """Equation (16), rho f32[M,N]: the weighted click and the ranker's three best, normalised."""
    top = torch.zeros_like(teacher).scatter(1, teacher.topk(min(3, teacher.shape[1])).indices, 1.0)
    rho = TEACHER_SHARE * teacher * top
    rho = rho.scatter_add(1, clicked.unsqueeze(1), weight.unsqueeze(1))
    return rho / rho.sum(-1, keepdim=True)


def _keys(vectors: IntentVectors) -> Tensor:
    return unit(torch.from_numpy(np.asarray(vectors.state - vectors.state_mean, np.float32)))


def _log_shares(logits: F32, eligible: NDArray[np.bool_]) -> F32:
    """Log softmax over the eligible intents, f32[M,N]."""
    masked = np.where(eligible, logits, np.float32(-1e9))
    top = masked.max(axis=1, keepdims=True)
    return np.asarray(masked - top - np.log(np.exp(masked - top).sum(axis=1, keepdims=True)), np.float32)
