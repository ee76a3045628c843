"""The texts that every engine embeds: a mix of log-normal lengths, made of the declared world's own prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from features.prompt import PREFIX, SLOT

MEDIAN_TOKENS, SIGMA = 64, 0.6
LONGEST_TOKENS = 240
"""Below what any engine cuts off."""


class Lengths:
    """Counts tokens as the reasoner does, each text once."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Tokens of a text."""
        if text not in self._known:
            self._known[text] = len(self.tokenizer.encode(text).ids)
        return self._known[text]


def mixed(told: Sequence[str], count: int, seed: int, lengths: Lengths) -> list[str]:
    """`count` prompts of log-normal lengths in tokens, of the words of the prompts `told`, begun and ended as they are.

    Lengths are right to a token or two: a text that is cut between tokens may be tokenized otherwise.
    """
    rng = np.random.default_rng(seed)
    middles = [text.removeprefix(PREFIX).removesuffix(SLOT) for text in told]
    words = lengths.tokenizer.encode(" ".join(middles[i] for i in rng.permutation(len(middles)))).ids
    ends = lengths(PREFIX) + lengths(SLOT)
    wanted = np.clip(rng.lognormal(np.log(MEDIAN_TOKENS), SIGMA, count), ends + 4, LONGEST_TOKENS).astype(int) - ends
    starts = rng.integers(max(len(words) - LONGEST_TOKENS, 1), size=count)
    pieces = (words[start : start + size] for start, size in zip(starts.tolist(), wanted.tolist(), strict=True))
    return [f"{PREFIX}. {lengths.tokenizer.decode(piece).strip()}{SLOT}" for piece in pieces]
