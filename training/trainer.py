"""One seeded fit of a ranker: AdamW, early stopping on the latest requests, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.checkpoint import Intents
from training.losses import Feedback, anchor_loss, click_loss, list_loss, ranking_loss
from training.qerec import Features, QERec

Progress = Callable[[str, int, int], None]
"""Told (what, done, of) after every epoch."""


GRADIENT_CLIP = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    `anchor` weighs KL(P_teacher || P_s), the term of (8) that keeps a ranker near the one before it.
    An epoch takes every clicked request and a fresh draw of at most `idle_per_click` times as many without a click,
    which stand for all of them in (7).
    """

    epochs: int = 20
    patience: int = 3
    batch: int = 128
    idle_per_click: float = 1.5
    rate: float = 2e-3
    decay: float = 0.1
    validation_share: float = 0.15
    anchor: float = 0.0


@dataclass(frozen=True)
class Examples:
    """Requests in order of event time with their feedback, and the intents they chose among."""

    features: Features
    feedback: Feedback
    intents: Intents
    teacher: Tensor | None = None
    """The previous ranker's logits f32[B,N] of the same requests, where there is one: the anchor of (8)."""

    def __len__(self) -> int:
        return len(self.feedback.exposed)


def fit(
    model: QERec,
    examples: Examples,
    schedule: Schedule,
    seed: int,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Trains `model` in place and returns what was measured; equal inputs and seed give equal weights.

    The last `validation_share` of the requests is held out for early stopping on (8). The caller's random generator
    and thread count are left as they were. Raises ValueError for fewer than 8 requests.
    """
    held_out = max(1, round(schedule.validation_share * len(examples)))
    train, validation = torch.split(torch.arange(len(examples)), [len(examples) - held_out, held_out])
    if len(train) < 8:
        raise ValueError(f"{len(examples)} requests to train on; expected at least 8: collect more decisions first")
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.decay)
    best, kept, waited, epoch = float("inf"), copy.deepcopy(model.state_dict()), 0, 0
    with _seeded(seed, threads):
        if examples.teacher is not None:
            best = evaluate(model, examples, validation)["loss"]
        for epoch in range(1, schedule.epochs + 1):
            drawn, idle_weight = _draw(examples.feedback, train, schedule.idle_per_click)
            for index in torch.split(drawn, schedule.batch):
                _step(model, examples, index, optimizer, (idle_weight, schedule.anchor))
            loss = evaluate(model, examples, validation)["loss"]
            waited = 0 if loss < best else waited + 1
            if loss < best:
                best, kept = loss, copy.deepcopy(model.state_dict())
            if progress is not None:
                progress("epochs", epoch, schedule.epochs)
            if waited >= schedule.patience:
                break
        model.load_state_dict(kept)
        told = evaluate(model, examples, validation)
    return {f"validation_{name}": value for name, value in told.items()} | {"epochs": float(epoch)}


def evaluate(model: QERec, examples: Examples, index: Tensor) -> dict[str, float]:
    """Losses (6), (7) and (8) and recall@3 of the requests at `index`, without dropout."""
    model.eval()
    with torch.no_grad():
        reprs = model.tower(*examples.intents)
        chunks = torch.split(index, 256)
        logits = torch.cat([model.head(*examples.features.take(chunk).tensors(), *reprs) for chunk in chunks])
    feedback, bias = examples.feedback.take(index), model.position_bias.detach()
    return {
        "loss": float(ranking_loss(logits, feedback, bias)),
        "list_loss": float(list_loss(logits, feedback)),
        "click_loss": float(click_loss(logits, feedback, bias)),
        "recall_at_3": recall(logits, feedback, 3),
    }


def recall(logits: Tensor, feedback: Feedback, k: int) -> float:
    """The share of clicks whose intent is among the k best eligible ones; 0 without clicks."""
    best = logits.masked_fill(~feedback.eligible, float("-inf")).topk(min(k, logits.shape[1])).indices
    hit = (feedback.exposed.unsqueeze(-1) == best.unsqueeze(1)).any(-1)
    clicks = feedback.clicks * (feedback.exposed >= 0)
    return float((hit * clicks).sum() / clicks.sum().clamp(min=1.0))


def _draw(feedback: Feedback, train: Tensor, idle_per_click: float) -> tuple[Tensor, float]:
    """One epoch's requests in random order, and how many idle ones each idle one of them stands for."""
    has_click = feedback.clicks[train].amax(1) > 0
    clicked, idle = train[has_click], train[~has_click]
    wanted = min(len(idle), max(64, round(idle_per_click * len(clicked))))
    chosen = torch.cat([clicked, idle[torch.randperm(len(idle))[:wanted]]])
    return chosen[torch.randperm(len(chosen))], len(idle) / max(wanted, 1)


def _step(
    model: QERec, examples: Examples, index: Tensor, optimizer: torch.optim.Optimizer, weights: tuple[float, float]
) -> None:
    model.train()
    idle_weight, anchor = weights
    feedback = examples.feedback.take(index)
    logits = model(examples.features.take(index), examples.intents)
    loss = ranking_loss(logits, feedback, model.position_bias, idle_weight)
    if examples.teacher is not None and anchor:
        loss = loss + anchor * anchor_loss(logits, examples.teacher[index], feedback.eligible)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
    optimizer.step()


@contextlib.contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
