"""One seeded fit of a ranker: AdamW, early stopping on the latest requests, the best weights kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.across import Team, team
from training.examples import Examples
from training.held_out import evaluate, scores
from training.losses import EMA_ANCHOR, Feedback, anchor_loss, ranking_loss
from training.negatives import FULL_LIMIT, Negatives
from training.query_trust import prove
from training.resumption import Resumption
from training.scoring import Scorer

Progress = Callable[[str, int, int], None]
"""Told (what, done, of) after every epoch."""
Watch = Callable[[int, Mapping[str, float]], None]
"""Told (epoch, what was measured on the held-out requests) after every epoch: a learning curve."""

GRADIENT_CLIP = 1.0
SLOW = 0.3
"""How fast a ranker's `slow_weights` learn, relative to the others."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    `anchor` weighs KL(P_teacher || P_s), the term of (8) that keeps a ranker near the one before it, `ema_anchor` the
    same towards the moving average of its own weights, whose decay grows up to `ema`. The average is what is measured
    and kept. An epoch takes every clicked request and a fresh draw of at most `idle_per_click` times as many without a
    click, which stand for all of them in (7).
    """

    epochs: int = 20
    patience: int = 3
    batch: int = 128
    idle_per_click: float = 1.5
    rate: float = 2e-3
    decay: float = 0.1
    validation_share: float = 0.15
    anchor: float = 0.0
    ema: float = 0.999
    ema_anchor: float = EMA_ANCHOR


def fit(
    model: Scorer,
    examples: Examples,
    schedule: Schedule,
    seed: int,
    *,
    threads: int = 1,
    progress: Progress | None = None,
    watch: Watch | None = None,
    resumption: Resumption | None = None,
    together: Team | None = None,
) -> dict[str, float]:
    """Trains `model` in place and returns what was measured; equal inputs and seed give equal weights.

    The last `validation_share` of the requests is held out for early stopping on (8). `resumption` keeps the fit after
    every epoch: called again with the same arguments it goes on where it stopped and ends in the same weights, bit for
    bit on a CPU. Under torchrun every process calls this with the same arguments. The caller's random generator and
    thread count are left as they were. Raises ValueError for fewer than 8 requests.
    """
    held_out = max(1, round(schedule.validation_share * len(examples)))
    train, validation = torch.split(torch.arange(len(examples)), [len(examples) - held_out, held_out])
    if len(train) < 8:
        raise ValueError(f"{len(examples)} requests to train on; expected at least 8: collect more decisions first")
    together = team() if together is None else together
    with _seeded(seed + together.rank, threads):
        model, placed = model.to(together.device), examples.to(together.device)
        if (trust := model.trust()) is not None:
            trust.fill_(1.0)
        run = _Run(model, placed, schedule, together, parts=(train, validation), seed=seed)
        for told in _epochs(run, resumption, examples.digest(schedule, seed) if resumption is not None else ""):
            if watch is not None:
                watch(run.done, told)
            if progress is not None:
                progress("epochs", run.done, schedule.epochs)
        model.load_state_dict(run.best_weights)
        proved = {} if trust is None else {"query_trust": prove(model, trust, run.examples, validation)}
        told = evaluate(model, run.examples, validation)
        model.to("cpu")
    return {f"validation_{name}": value for name, value in told.items()} | {"epochs": float(run.done)} | proved


def _epochs(run: _Run, resumption: Resumption | None, belongs: str) -> Iterator[dict[str, float]]:
    """The epochs that are not done yet, each kept before it is told."""
    if resumption is not None and (kept := resumption.kept(belongs)) is not None:
        run.restore(kept)
    while not run.is_over:
        told = run.epoch()
        if resumption is not None and run.together.rank == 0:
            resumption.keep(belongs, run.state())
        yield told


class _Run:
    """What changes in the course of a fit."""

    def __init__(
        self,
        model: Scorer,
        examples: Examples,
        schedule: Schedule,
        together: Team,
        *,
        parts: tuple[Tensor, Tensor],
        seed: int,
    ) -> None:
        self.model, self.examples, self.schedule, self.together = model, examples, schedule, together
        (self.train, self.validation), self.seed = parts, seed
        self.optimizer = torch.optim.AdamW(
            _groups(model, schedule.rate), schedule.rate, weight_decay=schedule.decay, fused=True
        )
        self.average = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.best_weights = copy.deepcopy(model.state_dict())
        self.done = self.waited = self.steps = 0
        self.best = float("inf")
        self.negatives: Negatives | None = None
        if examples.teacher is not None:
            self.best = evaluate(model, examples, self.validation)["loss"]

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or none was better for long enough."""
        return self.done >= self.schedule.epochs or self.waited >= self.schedule.patience

    def epoch(self) -> dict[str, float]:
        """One pass over the clicked requests and a draw of the idle ones; what the held-out requests say after it."""
        self._weigh_negatives()
        chance = torch.Generator().manual_seed(self.seed * 10_000 + self.done)
        drawn, idle_weight = _draw(self.examples.feedback, self.train, self.schedule.idle_per_click, chance)
        for index in torch.split(drawn, self.schedule.batch):
            self._step(index, idle_weight, chance)
        told = evaluate(self.average, self.examples, self.validation)
        self.done += 1
        self.waited = 0 if told["loss"] < self.best else self.waited + 1
        if told["loss"] < self.best:
            self.best, self.best_weights = told["loss"], copy.deepcopy(self.average.state_dict())
        return told

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "counts": (self.done, self.waited, self.steps, self.best),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state` told."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.best_weights = state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["generator"])
        self.done, self.waited, self.steps, self.best = state["counts"]

    def _weigh_negatives(self) -> None:
        """Above `FULL_LIMIT` intents: how likely each is drawn as a negative, by what was lately ranked high."""
        if self.examples.feedback.eligible.shape[1] <= FULL_LIMIT:
            return
        logits = scores(self.average, self.examples, self.validation[:FULL_LIMIT])
        eligible = self.examples.feedback.eligible[self.validation[:FULL_LIMIT]]
        hardness = torch.softmax(logits.masked_fill(~eligible, -1e9), -1).mean(0)
        self.negatives = Negatives.of(self.examples.feedback.take(self.train), hardness)

    def _step(self, index: Tensor, idle_weight: float, chance: torch.Generator) -> None:
        self.model.train()
        feedback, columns = self.examples.feedback.take(index), None
        if self.negatives is not None:
            columns, feedback = self.negatives.sampled(feedback, chance)
        mine = self.together.share(torch.arange(len(index)))
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(index[mine], feedback.take(mine), columns, idle_weight).backward()  # type: ignore[no-untyped-call]
        self.together.add_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_CLIP)
        self.optimizer.step()
        self.steps += 1
        self._follow()

    def _loss(self, index: Tensor, feedback: Feedback, columns: Tensor | None, idle_weight: float) -> Tensor:
        """Equation (8) of the requests at `index`, against all intents or those of `columns`."""
        features, total, intents = self.examples.features.take(index), self.together.total, self.examples.intents
        if columns is not None:
            intents = (intents[0][columns], intents[1][columns], intents[2][columns], intents[3][columns])
        logits = self.model(features, intents)
        loss = ranking_loss(logits, feedback, self.model.position_bias, idle_weight, total)
        if self.examples.teacher is not None and self.schedule.anchor:
            teacher = self.examples.teacher[index]
            teacher = teacher if columns is None else teacher[:, columns]
            loss = loss + self.schedule.anchor * anchor_loss(logits, teacher, feedback.eligible, total)
        if self.schedule.ema_anchor:
            with torch.no_grad():
                average = self.average(features, intents)
            loss = loss + self.schedule.ema_anchor * anchor_loss(logits, average, feedback.eligible, total)
        return loss

    def _follow(self) -> None:
        """The moving average of the weights; its decay grows from 2 / 11, so that it forgets where it began."""
        decay = min(self.schedule.ema, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)


def _groups(model: Scorer, rate: float) -> list[dict[str, Any]]:
    """The weights as the optimizer takes them: all at the rate of the schedule, but for the slow ones."""
    slow = model.slow_weights()
    names = {id(weight) for weight in slow}
    groups: list[dict[str, Any]] = [{"params": [w for w in model.parameters() if id(w) not in names]}]
    return [*groups, {"params": slow, "lr": SLOW * rate}] if slow else groups


def _draw(feedback: Feedback, train: Tensor, idle_per_click: float, chance: torch.Generator) -> tuple[Tensor, float]:
    """One epoch's requests in random order, and how many idle ones each idle one of them stands for.

    `chance` draws apart from the dropout, so that all processes of a run draw alike.
    """
    has_click = feedback.clicks[train].amax(1).cpu() > 0
    clicked, idle = train[has_click], train[~has_click]
    wanted = min(len(idle), max(64, round(idle_per_click * len(clicked))))
    chosen = torch.cat([clicked, idle[torch.randperm(len(idle), generator=chance)[:wanted]]])
    return chosen[torch.randperm(len(chosen), generator=chance)], len(idle) / max(wanted, 1)


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
