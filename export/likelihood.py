"""How well a ranker foretells what shoppers did with what they saw: cross-fitted log-likelihood, in nats a decision."""

from __future__ import annotations

import mmh3
import numpy as np
from numpy.typing import NDArray

from training.calibrate import fit_by_position
from training.dataset import Dataset

F32 = NDArray[np.float32]
MARGIN = 1e-6


def log_likelihood(logits: F32, heldout: Dataset) -> NDArray[np.float64]:
    """For each of B decisions, the log-probability of its clicks and non-clicks, f64[B]; logits f32[B,N].

    The scores are calibrated (Platt, an offset a position) on one half of the users and read on the other, and the
    reverse, so that being well calibrated alone wins nothing: what counts is how clicks go with scores. A prompt whose
    score is -inf (the ranker does not know the intent) counts as one of average score. A half without a click foretells
    by the mean. Whatever policy chose the slates, this is a proper score of what was seen.
    """
    known = np.isfinite(logits)
    filled = np.where(known, logits, logits[known].mean() if known.any() else 0.0).astype(np.float32)
    half = np.array([mmh3.hash(user, signed=False) % 2 for user in heldout.user], np.int64)
    told = np.zeros(len(heldout))
    for side in (0, 1):
        rows = np.flatnonzero(half == side)
        told[rows] = _foretold(filled, heldout, np.flatnonzero(half != side), rows)
    return told


def _foretold(
    logits: F32, heldout: Dataset, fitted_on: NDArray[np.int64], read_on: NDArray[np.int64]
) -> NDArray[np.float64]:
    learn, read = heldout.take(fitted_on), heldout.take(read_on)
    told = np.zeros(len(read))
    rows, slots = np.nonzero(read.seen)
    if not learn.seen.any() or not len(rows):
        return told
    calibrator, offsets = fit_by_position(logits[fitted_on], learn.exposed, learn.positions, learn.clicks)
    place = np.minimum(read.positions[rows, slots], len(offsets) - 1)
    scores = logits[read_on][rows, read.exposed[rows, slots]].astype(np.float64)
    p = 1.0 / (1.0 + np.exp(-np.clip(calibrator.a * scores + calibrator.b + offsets[place], -30.0, 30.0)))
    p = np.clip(p, MARGIN, 1.0 - MARGIN)
    clicked = read.clicks[rows, slots]
    np.add.at(told, rows, clicked * np.log(p) + (1.0 - clicked) * np.log(1.0 - p))
    return told
