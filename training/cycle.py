"""One training round: a dataset and its latent queries in, a checkpoint out (equations (2)-(8), and 2.6 c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from features.vectors import IntentVectors
from training import leakage
from training.checkpoint import Checkpoint, CheckpointMismatch, shape_for, tensors
from training.dataset import Dataset
from training.examples import Examples
from training.losses import Feedback, inverse_propensity
from training.qerec import QERec, create
from training.resumption import Resumption
from training.scoring import Intents
from training.trainer import Progress, Schedule, fit

F32 = NDArray[np.float32]
COLD = Schedule()
WARM = replace(COLD, epochs=10, patience=3, rate=1e-3, anchor=1.0)
"""Section 2.6 c, but with all towers at 1e-3: the anchor of (8) already keeps a ranker near the one before it."""


def train(
    dataset: Dataset,
    vectors: IntentVectors,
    families: Mapping[str, str],
    query: F32,
    has_query: NDArray[np.bool_],
    *,
    seed: int,
    warm_start: Checkpoint | None = None,
    teacher_query: F32 | None = None,
    schedule: Schedule | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    resumption: Resumption | None = None,
) -> Checkpoint:
    """A ranker trained on `dataset` (in order of event time) with queries f32[B,H] where has_query bool[B].

    `vectors` must hold every intent of the dataset, `families` names each one's family. `warm_start` is trained
    further and stays near itself: known intents keep their ID row, new ones start from the row of the unknown, and its
    own scores (with the queries `teacher_query` of its own space) anchor the new ones. `resumption` keeps the fit for a
    process that is stopped. Raises `CheckpointMismatch`
    when its widths differ, and `leakage.Leak` for examples that know the answer.
    """
    leakage.check(dataset)
    text, state = aligned(vectors, dataset.intent_ids)
    named = tuple(families[intent_id] for intent_id in dataset.intent_ids)
    shape = shape_for(len(named), len(set(named)), text.shape[1], state.shape[1])
    checkpoint = Checkpoint(create(shape, seed), dataset.intent_ids, named)
    if warm_start is None:
        checkpoint.model.settle(torch.from_numpy(dataset.encoded.numeric), torch.from_numpy(state))
    else:
        _inherit(checkpoint, warm_start)
    taught = examples(checkpoint, dataset, (text, state), query, has_query)
    if warm_start is not None:
        taught = replace(
            taught, teacher=_teacher(checkpoint, dataset, taught.intents, teacher_query, (query, has_query))
        )
    told = fit(
        checkpoint.model,
        taught,
        schedule or (COLD if warm_start is None else WARM),
        seed,
        threads=threads,
        progress=progress,
        resumption=resumption,
    )
    clicks = {"train_requests": float(len(dataset)), "train_clicks": float(dataset.clicks.sum())}
    return replace(checkpoint, metrics=told | clicks)


def _teacher(
    inherited: Checkpoint,
    dataset: Dataset,
    intents: Intents,
    own_query: F32 | None,
    served: tuple[F32, NDArray[np.bool_]],
) -> torch.Tensor:
    """What the inherited weights say before they are trained further, logits f32[B,N]."""
    query, has_query = served
    logits = inherited.logits(dataset.encoded, query if own_query is None else own_query, has_query, intents)
    return torch.from_numpy(logits)


def scores(
    checkpoint: Checkpoint, dataset: Dataset, vectors: IntentVectors, query: F32, has_query: NDArray[np.bool_]
) -> F32:
    """The checkpoint's logits f32[B,N] of a dataset over the same intents."""
    intents = checkpoint.intents(checkpoint.intent_ids, checkpoint.families, *aligned(vectors, checkpoint.intent_ids))
    return checkpoint.logits(dataset.encoded, query, has_query, intents)


def aligned(vectors: IntentVectors, intent_ids: tuple[str, ...]) -> tuple[F32, F32]:
    """(text f32[N,E], raw state f32[N,H]) in the order of `intent_ids`. Raises ValueError for an intent without."""
    place = {intent_id: row for row, intent_id in enumerate(vectors.ids)}
    if lacking := [intent_id for intent_id in intent_ids if intent_id not in place]:
        raise ValueError(
            f"no vectors for {lacking[:5]} of {len(intent_ids)} intents: make the vectors of this KB first"
        )
    rows = [place[intent_id] for intent_id in intent_ids]
    return vectors.text[rows], vectors.state[rows]


def examples(
    checkpoint: Checkpoint, dataset: Dataset, vectors: tuple[F32, F32], query: F32, has_query: NDArray[np.bool_]
) -> Examples:
    """A dataset as tensors, its clicks weighted by inverse propensity."""
    weights = inverse_propensity(dataset.propensity)
    columns = (dataset.exposed, dataset.positions, dataset.clicks, weights, dataset.eligible)
    return Examples(
        features=tensors(dataset.encoded, query, has_query),
        feedback=Feedback(*(torch.from_numpy(np.ascontiguousarray(column)) for column in columns)),
        intents=checkpoint.intents(checkpoint.intent_ids, checkpoint.families, *vectors),
    )


def _inherit(checkpoint: Checkpoint, previous: Checkpoint) -> None:
    """Copies the weights, rows of IDs and families by name."""
    weights = dict(previous.model.state_dict())
    for table, mine, theirs in (
        ("tower.ids.weight", checkpoint.intent_ids, previous.intent_ids),
        ("tower.family.weight", sorted(set(checkpoint.families)), sorted(set(previous.families))),
    ):
        row = {name: place for place, name in enumerate(theirs, start=1)}
        weights[table] = weights[table][[0, *(row.get(name, 0) for name in mine)]]
    _load(checkpoint.model, weights)


def _load(model: QERec, weights: Mapping[str, torch.Tensor]) -> None:
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wrong := [name for name in expected if found.get(name) != expected[name]]:
        name = wrong[0]
        raise CheckpointMismatch(
            f"the previous checkpoint's {name} is {found.get(name)}, expected {expected[name]}: train cold"
        )
    model.load_state_dict(weights)
