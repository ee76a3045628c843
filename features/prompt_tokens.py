"""Texts as a model's tokens: at most so many, the end kept, nothing after the slot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from features.reasoner_identity import NotAModel

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MAX_TOKENS = 512
"""A longer prompt loses its beginning, for the slot stands at the end; those of `features.prompt` never are longer."""


class PromptTokens:
    """The tokenizer of a model folder. Raises `NotAModel` if its config names no end-of-text token."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = opened_tokenizer(folder)
        self.end = _end_token(folder)

    def of(self, texts: Iterable[str]) -> list[tuple[int, ...]]:
        """Each text's last `MAX_TOKENS` tokens.

        A token that the model expects in front stays; one that its tokenizer would append is left out, for the state
        is read at the slot. Raises ValueError for a text without a token.
        """
        found = [_without_tail(encoding) for encoding in self._tokenizer.encode_batch(list(texts))]
        if empty := [place for place, tokens in enumerate(found) if not tokens]:
            raise ValueError(f"the texts at {empty[:5]} have no token; expected prompts that end in the slot")
        return [tokens[-MAX_TOKENS:] for tokens in found]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return self._tokenizer.decode(list(tokens))


def opened_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer; padding and truncation are not its business."""
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _without_tail(encoding: Encoding) -> tuple[int, ...]:
    added = encoding.special_tokens_mask
    length = next((end for end in range(len(added), 0, -1) if not added[end - 1]), 0)
    return tuple(encoding.ids[:length])


def _end_token(folder: Path) -> int:
    found = json.loads((folder / "config.json").read_text()).get("eos_token_id")
    first = found[0] if isinstance(found, list) else found
    if first is None:
        raise NotAModel(f"{folder / 'config.json'} names no eos_token_id: add the id of the token that ends a text")
    return int(first)
