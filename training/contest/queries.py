"""The latent queries an arm is given: the reasoner's own, none, or one of the placebos of the design's row D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from features.schema import CATEGORICAL
from training.contest.cell import Cell
from training.trial import Trial

F32 = NDArray[np.float32]
_HOUR_MS = 3_600_000


class Query(StrEnum):
    """Where the queries of an arm come from."""

    OWN = "own"
    NONE = "none"
    SHUFFLED = "shuffled"
    RANDOM = "random"
    BAG = "bag"


@dataclass(frozen=True, eq=False)
class Encoded:
    """One encoder's vectors: of each prompt f32[H] by its text, and of the N intents' prompts f32[N,H].

    `text` f32[N,E] are the intents' frozen text vectors, whatever the encoder.
    """

    prompts: Mapping[str, F32]
    state: F32
    text: F32
    intent_prompts: tuple[str, ...]
    families: tuple[str, ...]


def trial(cell: Cell, encoded: Encoded, kind: Query, seed: int) -> Trial:
    """The cell's requests with the queries of one kind; what is random depends on `seed`.

    The mean that is taken off the reasoner's states is that of the requests before the test.
    """
    dataset, rng = cell.dataset, np.random.default_rng([seed, 5])
    if kind is Query.BAG:
        encoded = bag_of_facts(cell, encoded)
    raw = np.stack([encoded.prompts[cell.prompt_of[told]] for told in dataset.state_hash])
    query = np.asarray(raw - raw[: cell.test_from].mean(axis=0), np.float32)
    if kind is Query.RANDOM:
        query = rng.standard_normal(query.shape).astype(np.float32) * query.std()
    has_query = np.full(len(dataset), kind is not Query.NONE)
    known = np.ones(len(dataset.intent_ids), np.bool_)
    told = Trial(dataset, query, has_query, encoded.text, encoded.state, encoded.families, known)
    return replace(told, query=query[swapped(told, cell.test_from, rng)]) if kind is Query.SHUFFLED else told


def swapped(trial: Trial, border: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Whose query each request gets instead: one of the same language and hour, on the same side of the border."""
    dataset = trial.dataset
    locale = dataset.encoded.categorical[:, list(CATEGORICAL).index("locale")]
    hour = dataset.made_ms // _HOUR_MS % 24
    side = np.arange(len(dataset)) >= border
    source = np.arange(len(dataset))
    for group in np.unique(np.column_stack([locale, hour, side]), axis=0):
        members = np.flatnonzero((locale == group[0]) & (hour == group[1]) & (side == group[2]))
        drawn = rng.permutation(members)
        source[drawn] = np.roll(drawn, 1)
    return source


def bag_of_facts(cell: Cell, encoded: Encoded) -> Encoded:
    """An encoder that only hashes words: the same prompts and intents without any understanding."""
    prompts = sorted(set(cell.prompt_of.values()))
    vectors = _hashed([*prompts, *encoded.intent_prompts], next(iter(encoded.prompts.values())).shape[0])
    return replace(
        encoded,
        prompts=dict(zip(prompts, vectors[: len(prompts)], strict=True)),
        state=vectors[len(prompts) :],
    )


def _hashed(texts: Sequence[str], width: int) -> F32:
    """Signed hashed counts of words and pairs of words, each text of length 1: f32[B, width]."""
    from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - an offline library

    hashing = HashingVectorizer(n_features=width, ngram_range=(1, 2), dtype=np.float32)
    return np.asarray(hashing.transform(list(texts)).toarray(), np.float32)
