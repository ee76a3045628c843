"""TF-IDF over words: what counting the words that a question and an answer share achieves without any model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_WORD = re.compile(r"[^\W_]+")


def shared_words(questions: Sequence[str], answers: Sequence[str]) -> tuple[F64, F64]:
    """The tf-idf vectors of questions f64[B, V] and answers f64[N, V]; words and their rarity are the answers'.

    tf = 1 + ln(count), idf = ln((1 + N) / (1 + answers with the word)) + 1; a plural's final s is dropped.

    >>> q, a = shared_words(["late parcels"], ["where is my parcel", "refund"])
    >>> (q @ a.T > 0).tolist()
    [[True, False]]
    """
    told = [Counter(_words(answer)) for answer in answers]
    place = {word: index for index, word in enumerate(sorted(set().union(*told)))}
    holding = Counter(word for words in told for word in words)
    idf = np.array([np.log((1 + len(told)) / (1 + holding[word])) + 1 for word in place])
    return _rows([Counter(_words(text)) for text in questions], place) * idf, _rows(told, place) * idf


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") if len(word) > 3 else word for word in _WORD.findall(text.lower())]


def _rows(counted: Sequence[Counter[str]], place: dict[str, int]) -> F64:
    rows = np.zeros((len(counted), len(place)))
    for row, words in zip(rows, counted, strict=True):
        for word, count in words.items():
            if word in place:
                row[place[word]] = 1 + np.log(count)
    return rows
