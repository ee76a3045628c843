"""How much of the latent queries counts: what they prove on requests that nothing was learned from.

Our specification. A ranker learns what queries say from some hundred clicks, and where words tell nothing it learns
noise. So a fit ends with a question to the held-out requests: with gain G(t) = L(0) - L(t) of a trust t over the null
query in loss (8), t* the best of `LEVELS`, and s the standard error of G(t*) over requests,

    trust = t* max(0, 1 - (s / G(t*))^2),     0 where G(t*) <= 0 or nobody has a query

the positive-part James-Stein estimate: a gain within one standard error counts nothing, one of three counts 8/9.
"""

from __future__ import annotations

from torch import Tensor

from training.examples import Examples
from training.held_out import scores
from training.losses import ranking_losses
from training.scoring import Scorer

LEVELS = (0.25, 0.5, 0.75, 1.0)


def prove(model: Scorer, trust: Tensor, examples: Examples, index: Tensor) -> float:
    """Sets the model's `trust` f32[] by the requests at `index` and returns it."""
    if not examples.features.has_query[index].any():
        trust.fill_(0.0)
        return 0.0
    null = _losses(model, trust, 0.0, examples, index)
    found = 0.0
    best = 0.0
    for level in LEVELS:
        gains = null - _losses(model, trust, level, examples, index)
        gain, error = float(gains.sum()), float(gains.std(correction=1)) * len(gains) ** 0.5
        if gain > best:
            best, found = gain, shrunk(level, gain, error)
    trust.fill_(found)
    return found


def shrunk(level: float, gain: float, error: float) -> float:
    """The level, the less sure the closer to 0.

    >>> shrunk(1.0, gain=0.3, error=0.1), shrunk(1.0, gain=0.1, error=0.1)
    (0.8888888888888888, 0.0)
    """
    return level * max(0.0, 1.0 - (error / gain) ** 2) if gain > 0 else 0.0


def _losses(model: Scorer, trust: Tensor, level: float, examples: Examples, index: Tensor) -> Tensor:
    """Each request's part of (8) where so much of a query counts, f32[len(index)]."""
    trust.fill_(level)
    bias = model.position_bias.detach()
    return ranking_losses(scores(model, examples, index), examples.feedback.take(index), bias)
