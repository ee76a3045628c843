"""Impressions as what a QE-Rec takes, without knowing whose log it is: hashed columns, events, and encoded words.

Numbers of the context go to one of `NUMBERS` places by their names' hash, as signed logarithms; all other values and
the events of the history, newest first, are hashed. Nothing must be known of a log, so memory does not grow with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mmh3
import numpy as np
import torch
from numpy.typing import NDArray

from training.impressions import BadImpression, Impression
from training.losses import Feedback
from training.qerec_shape import QERecShape
from training.scoring import Features, Intents

F32 = NDArray[np.float32]
Encode = Callable[[Sequence[str]], F32]
"""Texts -> f32[B, width], in their order."""

NUMBERS, COLUMNS, BUCKETS, SEQUENCE, KINDS = 16, 8, 1024, 16, 4096
HASHED_WIDTH = 256
_REMEMBERED = 20_000


def hashed(texts: Sequence[str]) -> F32:
    """Words and pairs of words, hashed into 256 signed counts of length 1: needs no model."""
    from sklearn.feature_extraction.text import HashingVectorizer  # noqa: PLC0415 - an offline library

    hashing = HashingVectorizer(n_features=HASHED_WIDTH, ngram_range=(1, 2), dtype=np.float32)
    return np.asarray(hashing.transform(list(texts)).toarray(), np.float32)


class Remembered:
    """An encoder that does the newest texts only once; it forgets the oldest beyond 20,000."""

    def __init__(self, encode: Encode) -> None:
        self._encode, self._kept = encode, OrderedDict[str, F32]()

    def __call__(self, texts: Sequence[str]) -> F32:
        """The vectors of the texts, f32[B, width]."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self._kept]:
            self._kept.update(zip(missing, self._encode(missing), strict=True))
        for text in texts:
            self._kept.move_to_end(text)
        vectors = np.stack([self._kept[text] for text in texts])
        while len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return vectors


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some impressions over the M candidates that stand in them: `shown` i64[B,K] are their columns, -1 = none."""

    impressions: tuple[Impression, ...]
    features: Features
    feedback: Feedback
    intents: Intents
    shown: NDArray[np.int64]


class Arrays:
    """Turns impressions into chunks; `texts` are all candidates' in their order."""

    def __init__(self, texts: dict[str, str], encode: Encode) -> None:
        self._place = {candidate: row for row, candidate in enumerate(texts)}
        self._vectors = encode(list(texts.values()))
        self._encode = Remembered(encode)

    def shape(self) -> QERecShape:
        """The sizes of a ranker of this log."""
        width = self._vectors.shape[1]
        return QERecShape(
            numeric=NUMBERS, categories=(BUCKETS,) * COLUMNS, event_kinds=KINDS, sequence=SEQUENCE,
            text_width=width, query_width=width, intents=len(self._place), families=1, dropout=0.1,
        )  # fmt: skip

    @property
    def state(self) -> F32:
        """The candidates' vectors f32[N, width]."""
        return self._vectors

    def chunk(self, told: Sequence[Impression]) -> Chunk:
        """The impressions as tensors. Raises `BadImpression` for a candidate without a text."""
        if strange := sorted({candidate for one in told for candidate in one.candidates} - self._place.keys()):
            raise BadImpression(
                f"{strange[:3]} were shown and are none of the {len(self._place)} candidates; expected every shown id "
                "in the file of candidates: add its line, with an empty text if there is none"
            )
        rows = [[self._place[candidate] for candidate in one.candidates] for one in told]
        columns = np.unique(np.concatenate([np.array(row) for row in rows]))
        shown = np.full((len(told), max(map(len, rows))), -1)
        for place, row in enumerate(rows):
            shown[place, : len(row)] = np.searchsorted(columns, row)
        vectors = torch.from_numpy(self._vectors[columns])
        family = torch.ones(len(columns), dtype=torch.int64)
        intents = (torch.from_numpy(columns + 1), vectors, vectors, family)
        return Chunk(tuple(told), self._features(told), _feedback(told, shown, len(columns)), intents, shown)

    def _features(self, told: Sequence[Impression]) -> Features:
        numeric, categorical = np.zeros((len(told), NUMBERS), np.float32), np.zeros((len(told), COLUMNS), np.int64)
        kinds = np.zeros((len(told), SEQUENCE), np.int64)
        for row, one in enumerate(told):
            for name, value in one.context.items():
                if isinstance(value, float):
                    numeric[row, bucket(name, NUMBERS)] += np.sign(value) * np.log1p(abs(value))
                else:
                    categorical[row, bucket(name, COLUMNS)] = 1 + bucket(f"{name}={value}", BUCKETS - 1)
            newest = [1 + bucket(event, KINDS - 1) for event in reversed(one.history[-SEQUENCE:])]
            kinds[row, : len(newest)] = newest
        words = [one.words for one in told]
        query = self._encode(words)
        ages = np.where(kinds > 0, 1 / (1 + np.arange(SEQUENCE)), 0.0).astype(np.float32)
        arrays = (numeric, categorical, kinds, ages, query, np.array([bool(word) for word in words], np.float32))
        return Features(*(torch.from_numpy(array) for array in arrays))


def bucket(text: str, buckets: int) -> int:
    """The hash bucket of a text.

    >>> bucket("page", 8) == bucket("page", 8)
    True
    """
    return int(mmh3.hash(text, signed=False)) % buckets


def _feedback(told: Sequence[Impression], shown: NDArray[np.int64], columns: int) -> Feedback:
    clicks = np.zeros(shown.shape, np.float32)
    weights = np.ones(shown.shape, np.float32)
    eligible = np.zeros((len(told), columns), np.bool_)
    for row, one in enumerate(told):
        eligible[row, shown[row][shown[row] >= 0]] = True
        for place, candidate in enumerate(one.candidates):
            if share := one.clicked.get(candidate, 0.0):
                clicks[row, place], weights[row, place] = 1.0, share
    positions = np.where(shown >= 0, np.minimum(np.arange(1, shown.shape[1] + 1), 20), 0)
    parts = (shown, positions, clicks, weights, eligible)
    exposed, position, clicked, weight, able = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return Feedback(exposed, position, clicked, weight, able)
